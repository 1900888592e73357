//! Requests, answers and streams in the shapes that providers document, and what becomes of them in the other dialect: a file each,
//! and beside it the file with what is expected. `UPDATE_GOLDEN=1` writes the expected ones anew; they are read by eye then.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod answers;
mod costs;
mod requests;
mod responses;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};

use trunkline_llm::{Dialect, Spoken};

/// The files of a folder whose names end so, in order.
fn inputs(folder: &str, end: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    files
}

/// `openai-…` is OpenAI's, `anthropic-…` Anthropic's, `gemini-…` Gemini's, `responses-…` OpenAI's newer one.
fn spoken(path: &Path) -> Spoken {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name.split('-').next() {
        Some("openai") => Spoken::By(Dialect::OpenAi),
        Some("anthropic") => Spoken::By(Dialect::Anthropic),
        Some("gemini") => Spoken::Gemini,
        Some("bedrock") => Spoken::Bedrock,
        Some("responses") => Spoken::By(Dialect::Responses),
        _ => panic!("{name} names no dialect"),
    }
}

/// The other side: `…-for-openai…`, or else the other dialect of clients.
fn other_side(path: &Path) -> Spoken {
    let name = path.file_name().unwrap().to_str().unwrap();
    match (name.split_once("-for-"), spoken(path)) {
        (Some((_, rest)), _) => spoken(Path::new(&rest.replace('.', "-"))),
        (None, Spoken::By(dialect)) => Spoken::By(other(dialect)),
        (None, Spoken::Gemini | Spoken::Bedrock) => panic!("{name} names no client"),
    }
}

/// What a client speaks.
fn dialect(spoken: Spoken) -> Dialect {
    match spoken {
        Spoken::By(dialect) => dialect,
        Spoken::Gemini | Spoken::Bedrock => panic!("no client speaks it"),
    }
}

fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::OpenAi => Dialect::Anthropic,
        Dialect::Anthropic | Dialect::Responses => Dialect::OpenAi,
    }
}

/// Compares with the file that ends otherwise.
fn check(input: &Path, ends: (&str, &str), found: &str) {
    let expected = PathBuf::from(input.to_str().unwrap().replace(ends.0, ends.1));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, found).unwrap();
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(found, wanted, "{}", input.display());
}

/// Indented, with a line at its end.
fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}
