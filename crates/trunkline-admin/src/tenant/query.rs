//! Queries: the parameters that are served, and LiteLLM's others, which would show more than was asked for if they were passed
//! over.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::body::{Loc, Problems};
use crate::key::error::KeyError;
use crate::key::fields::one_of_words;

/// What a query says.
pub(crate) struct Query(BTreeMap<String, String>);

/// A part of a list.
pub(crate) struct Page {
    number: usize,
    size: usize,
}

impl Query {
    /// Reads a query. A parameter without a value is none.
    pub(crate) fn read(query: Option<&str>, served: &[&str], later: &[&str]) -> Result<Self, KeyError> {
        let mut problems = Problems::default();
        let mut values = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let at = [Loc::from("query"), Loc::from(name.as_ref())];
            if served.contains(&name.as_ref()) {
                if !value.is_empty() {
                    values.insert(name.into_owned(), value.into_owned());
                }
            } else if !later.contains(&name.as_ref()) {
                let text = "Extra inputs are not permitted; no such parameter";
                problems.add("extra_forbidden", &at, text);
            } else if !matches!(value.as_ref(), "" | "false" | "False") {
                let text = "this parameter is not supported yet: leave it out";
                problems.add("not_supported", &at, text);
            }
        }
        problems.into_result()?;
        Ok(Self(values))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, KeyError> {
        let Some(value) = self.get(name) else {
            let mut problems = Problems::default();
            problems.add(
                "missing",
                &[Loc::from("query"), Loc::from(name)],
                "Field required",
            );
            problems.into_result()?;
            return Err(KeyError::NotFound);
        };
        Ok(value)
    }

    /// Whether a row's text is as asked for, if it was asked for.
    pub(crate) fn means(&self, name: &str, own: Option<&str>) -> bool {
        self.get(name).is_none_or(|wanted| own == Some(wanted))
    }

    /// The word that was given, which has to be one of these.
    pub(crate) fn one_of<'w>(&self, name: &str, words: &[&'w str]) -> Result<Option<&'w str>, KeyError> {
        let Some(given) = self.get(name) else {
            return Ok(None);
        };
        one_of_words(words, given).map(Some).or_else(|text| {
            let mut problems = Problems::default();
            problems.add("enum", &[Loc::from("query"), Loc::from(name)], text);
            problems.into_result()?;
            Ok(None)
        })
    }

    /// `page` and `page_size`.
    pub(crate) fn page(&self, size: usize) -> Result<Page, KeyError> {
        self.page_up_to(size, 100)
    }

    /// The same of rows that there are many of.
    pub(crate) fn page_up_to(&self, size: usize, most_rows: usize) -> Result<Page, KeyError> {
        let mut problems = Problems::default();
        let mut number = |name: &str, usual: usize, most: usize| match self.get(name) {
            None => usual,
            Some(text) => match text.parse() {
                Ok(number) if (1..=most).contains(&number) => number,
                _ => {
                    let text = format!("Input should be a number from 1 to {most}");
                    problems.add("less_than_equal", &[Loc::from("query"), Loc::from(name)], text);
                    usual
                }
            },
        };
        let page = Page {
            number: number("page", 1, 1_000_000_000),
            size: number("page_size", size, most_rows),
        };
        problems.into_result()?;
        Ok(page)
    }
}

impl Page {
    /// Which, and of how many rows.
    pub(crate) fn numbers(&self) -> (u64, u32) {
        let size = u32::try_from(self.size).unwrap_or(u32::MAX);
        (self.number as u64, size)
    }

    /// The answer with the part of `rows` under `name`.
    pub(crate) fn of<T>(&self, name: &str, rows: &[T], show: impl FnMut(&T) -> Value) -> Value {
        let begin = (self.number - 1).saturating_mul(self.size).min(rows.len());
        let end = begin.saturating_add(self.size).min(rows.len());
        let shown: Vec<Value> = rows
            .get(begin..end)
            .unwrap_or_default()
            .iter()
            .map(show)
            .collect();
        let mut answer = Map::new();
        answer.insert(name.to_owned(), shown.into());
        answer.insert("total".to_owned(), rows.len().into());
        answer.insert("page".to_owned(), self.number.into());
        answer.insert("page_size".to_owned(), self.size.into());
        answer.insert("total_pages".to_owned(), rows.len().div_ceil(self.size).into());
        answer.into()
    }
}
