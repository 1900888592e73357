//! What people at a terminal get more of: tables that fit, bold headings, questions. Nothing means anything by its colour;
//! `NO_COLOR` and pipes turn it off.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anstyle::Style;
use comfy_table::{ContentArrangement, Table, presets};

use crate::failure::{Code, Failure};

/// Headings.
const BOLD: Style = Style::new().bold();
/// Narrower than this, a table is not squeezed: it would be unreadable.
const LEAST_WIDTH: u16 = 60;

/// Prints rows under headings: fitted to a terminal, else as wide as they are.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut bold = false;
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width.unwrap_or(100).max(LEAST_WIDTH));
        bold = true;
    }
    table.set_header(headings.to_vec());
    table.add_rows(rows);
    let text = table.to_string();
    let mut out = anstream::stdout();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let line = line.strip_prefix(' ').unwrap_or(line);
        let _ = if index == 0 && bold {
            writeln!(out, "{BOLD}{line}{BOLD:#}")
        } else {
            writeln!(out, "{line}")
        };
    }
}

/// Text of others, safe to print: no control characters but line breaks and tabs, which could draw over what stands there.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            // Bidirectional overrides show another text than is there.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same on one line, cut at `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = printable(&text.join(" "));
    if text.chars().count() <= most {
        return text;
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Whether somebody is there to be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether somebody watches standard error.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A line on standard error: what goes on, and questions.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks for a line; `None` at the end of the input.
pub(crate) fn ask(question: &str) -> Option<String> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{question} ");
    let _ = err.flush();
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(1..) => Some(line.trim().to_owned()),
        Ok(0) | Err(_) => None,
    }
}

/// Asks for a secret, which is not shown while it is typed.
pub(crate) fn ask_secret(question: &str) -> Option<String> {
    let _ = write!(std::io::stderr(), "{question} ");
    let typed = rpassword::read_password().ok()?;
    Some(typed.trim().to_owned()).filter(|typed| !typed.is_empty())
}

/// Asks whether to go on. `yes`: it was agreed to already. Without a terminal nobody agrees.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(Failure::new(
            Code::NotConfirmed,
            "this was a preview: nothing was changed, because there is no terminal to ask on",
        )
        .todo("say --yes"));
    }
    match ask(&format!("{question} [y/N]")).as_deref() {
        Some("y" | "Y" | "yes" | "Yes") => Ok(()),
        _ => Err(Failure::new(Code::NotConfirmed, "nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_draw_on_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\n\tc\u{202e}d"),
            "a\u{fffd}[2Jb\n\tc\u{fffd}d"
        );
        assert_eq!(one_line("a  b\n c", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
