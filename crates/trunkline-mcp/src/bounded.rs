//! Lists of raw values with an end. `[1,1,1,…]` of some megabytes is a list of millions, and a list of what it holds is
//! many times larger than itself: the count is checked while reading, not afterwards (S38).

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// At most `N` values, as they came. More is an error.
#[derive(Debug)]
pub(crate) struct Bounded<'a, const N: usize>(pub(crate) Vec<&'a RawValue>);

impl<'de: 'a, 'a, const N: usize> Deserialize<'de> for Bounded<'a, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<const N: usize>;
        impl<'de, const N: usize> Visitor<'de> for Values<N> {
            type Value = Bounded<'de, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element::<&'de RawValue>()? {
                    if values.len() == N {
                        return Err(de::Error::custom(format_args!("more than {N} items")));
                    }
                    values.push(value);
                }
                Ok(Bounded(values))
            }
        }
        deserializer.deserialize_seq(Values::<N>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s38_one_too_many_is_an_error() {
        assert_eq!(
            serde_json::from_str::<Bounded<'_, 3>>("[1, {}, []]")
                .unwrap()
                .0
                .len(),
            3
        );
        assert!(serde_json::from_str::<Bounded<'_, 3>>("[1,1,1,1]").is_err());
        assert!(serde_json::from_str::<Bounded<'_, 3>>("{}").is_err());
    }
}
