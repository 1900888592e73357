//! About how many tokens a request may take, before anybody has counted them: what limits of tokens hold back for it.
//!
//! Four bytes of text are about a token. A picture or a file within the text is not read as text by any model, and counts as a picture
//! of usual size, however long it is.

use crate::Request;

/// Bytes of text that are about a token.
const BYTES_OF_A_TOKEN: u64 = 4;
/// Bytes without a space or a mark, from which on they are no words but a picture or a file in base64.
const FILE: u64 = 1024;
/// What such a one counts as, in tokens …
pub const OF_A_FILE: u64 = 1024;
/// … and in bytes.
const FILE_IS: u64 = OF_A_FILE * BYTES_OF_A_TOKEN;
/// The members that say how much may be written, in all dialects.
const MOST_WRITTEN: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
/// Answers that one request may ask for.
const MOST_ANSWERS: u64 = 128;

impl Request<'_> {
    /// About how many tokens it may take. `typical` is what is written where the request bounds nothing; nothing is where nothing is
    /// written.
    pub fn may_take(&self, typical: u64) -> u64 {
        let read = self.members().map(|(_, json)| text_bytes(json.as_bytes()));
        let read = read.fold(0, u64::saturating_add).div_ceil(BYTES_OF_A_TOKEN);
        if typical == 0 {
            return read;
        }
        let written = self.most_written().unwrap_or(typical);
        read.saturating_add(written.saturating_mul(self.answers()))
    }

    /// How many tokens may be written, if it says it.
    pub(crate) fn may_write(&self) -> Option<u64> {
        Some(self.most_written()?.saturating_mul(self.answers()))
    }

    fn most_written(&self) -> Option<u64> {
        MOST_WRITTEN.into_iter().find_map(|name| self.number(name))
    }

    fn answers(&self) -> u64 {
        self.number("n").unwrap_or(1).clamp(1, MOST_ANSWERS)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.member(name)?.parse().ok()
    }
}

/// The same of a body of which nobody knows the members: about how many tokens are read of it.
pub fn read_of(body: &[u8]) -> u64 {
    text_bytes(body).div_ceil(BYTES_OF_A_TOKEN)
}

/// The bytes of a JSON text that a model reads as text, and what its files count as.
fn text_bytes(json: &[u8]) -> u64 {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-\\".contains(byte);
    let mut sum = 0_u64;
    for run in json.chunk_by(|a, b| is_base64(a) == is_base64(b)) {
        let length = run.len() as u64;
        let is_file = length >= FILE && run.first().is_some_and(is_base64);
        sum = sum.saturating_add(if is_file { FILE_IS } else { length });
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_take(body: &str, typical: u64) -> u64 {
        Request::read(body.as_bytes(), None).unwrap().may_take(typical)
    }

    #[test]
    fn what_is_read_is_guessed_and_what_may_be_written_is_said_or_usual() {
        let messages = format!(r#"[{{"role":"user","content":"{}"}}]"#, "word ".repeat(800));
        let with = |more: &str| format!(r#"{{"model":"m","messages":{messages}{more}}}"#);
        let read = may_take(&with(""), 0);
        assert!((1_000..1_020).contains(&read), "{read}");
        for (more, written) in [
            ("", 300),
            (r#","max_tokens":50"#, 50),
            (r#","max_completion_tokens":70"#, 70),
            (r#","max_completion_tokens":70,"n":3"#, 210),
            (r#","n":1000000000000"#, 300 * 128),
            (r#","max_tokens":null"#, 300),
            (r#","max_tokens":"many""#, 300),
        ] {
            let all = may_take(&with(more), 300);
            assert!((written + 1_000..written + 1_040).contains(&all), "{more}: {all}");
        }
        assert_eq!(
            may_take(&with(r#","max_tokens":18446744073709551615"#), 1),
            u64::MAX
        );
    }

    #[test]
    fn a_picture_is_no_text() {
        let picture = "iVBORw0KGgo+/".repeat(100_000);
        let escaped = picture.replace('/', "\\/");
        for data in [picture, escaped] {
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
            );
            let tokens = may_take(&body, 0);
            assert!((1_024..1_100).contains(&tokens), "{tokens}");
        }
        // Words of a language that is written without spaces are words.
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "\u{4f60}\u{597d}".repeat(4_000)
        );
        assert!(may_take(&body, 0) > 5_000);
    }
}
