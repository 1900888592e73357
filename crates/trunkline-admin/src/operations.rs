//! `openapi`: which operations of a document become tools.

use serde_json::Value;
use trunkline_model::OpenApiFilter;

use crate::body::{At, Loc};

/// Replaces the filter; null removes it.
pub(crate) fn set(filter: &mut OpenApiFilter, value: &Value, at: &mut At<'_>) {
    if value.is_null() {
        *filter = OpenApiFilter::default();
        return;
    }
    let Some(object) = at.object(value) else { return };
    match OpenApiFilter::parse(object) {
        Ok(parsed) => *filter = parsed,
        Err(mistake) => {
            let mut place: Vec<String> = mistake.at.split('.').map(str::to_owned).collect();
            place.retain(|part| !part.is_empty());
            let (kind, message) = match &mistake.unknown {
                Some((name, known)) if known.contains(&"include") || known.contains(&"tags") => {
                    place.push(name.clone());
                    (
                        "extra_forbidden",
                        format!("Extra inputs are not permitted; known are {}", known.join(", ")),
                    )
                }
                Some((_, known)) => (
                    "literal_error",
                    format!("Input should be one of {}", known.join(", ")),
                ),
                None => ("value_error", format!("Value error, {}", mistake.message)),
            };
            within(at, &place, kind, message);
        }
    }
}

fn within(at: &mut At<'_>, place: &[String], kind: &'static str, message: String) {
    match place.split_first() {
        None => drop(at.problem::<()>(kind, message)),
        Some((first, rest)) => at.within(Loc::Name(first.clone()), |at| within(at, rest, kind, message)),
    }
}
