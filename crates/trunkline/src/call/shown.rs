//! What a call shows: progress while it runs, on a terminal; what the tool gave, when it is done.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::output;
use crate::terminal;

/// Characters of a line of progress: one that wraps could not be taken back.
const LINE: usize = 70;

/// The line of progress on standard error.
#[derive(Default)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// `  42 %  words`
    pub(super) fn show(&mut self, params: &Value) {
        if !terminal::is_watched() {
            return;
        }
        let mut text = match (params["progress"].as_f64(), params["total"].as_f64()) {
            (Some(progress), Some(total)) if total > 0.0 => {
                format!("{:3.0} %", (progress / total * 100.0).min(100.0))
            }
            (Some(progress), _) => format!("{progress}"),
            _ => String::new(),
        };
        if let Some(message) = params["message"].as_str() {
            text.push_str("  ");
            text.push_str(message);
        }
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{}", terminal::one_line(&text, LINE));
        let _ = std::io::stderr().flush();
        self.shown = true;
    }

    /// A log message of the server.
    pub(super) fn log(&mut self, params: &Value) {
        if !terminal::is_watched() {
            return;
        }
        self.clear();
        let data = match &params["data"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let level = params["level"].as_str().unwrap_or("info");
        terminal::say(&format!(
            "{}: {}",
            terminal::one_line(level, 20),
            terminal::one_line(&data, 500)
        ));
    }

    /// Takes the line back.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// The content of a result: texts as they are, a line for what is none.
pub(super) fn print(result: &Value) {
    let content = result["content"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for block in content {
        match block["type"].as_str() {
            Some("text") => text(block["text"].as_str().unwrap_or_default()),
            Some("resource") if block["resource"]["text"].is_string() => {
                text(block["resource"]["text"].as_str().unwrap_or_default());
            }
            Some(kind) => output::line(&format!("[{}]", terminal::one_line(&described(kind, block), 500))),
            None => {}
        }
    }
    let structured = &result["structuredContent"];
    if content.is_empty() && !structured.is_null() {
        output::json(structured);
    }
}

/// To a terminal without what could draw on it, else byte for byte.
fn text(text: &str) {
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        output::line(&terminal::printable(text));
    } else {
        output::line(text);
    }
}

fn described(kind: &str, block: &Value) -> String {
    let resource = &block["resource"];
    let mime = block["mimeType"].as_str().or(resource["mimeType"].as_str());
    let place = block["uri"].as_str().or(resource["uri"].as_str());
    let data = block["data"].as_str().or(resource["blob"].as_str());
    let size = data.map(|data| match STANDARD.decode(data) {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(_) => "broken base64".to_owned(),
    });
    let mut text = kind.to_owned();
    for part in [mime, place, size.as_deref()].into_iter().flatten() {
        text.push(' ');
        text.push_str(part);
    }
    if size.is_some() {
        text.push_str(": --json has it");
    }
    text
}
