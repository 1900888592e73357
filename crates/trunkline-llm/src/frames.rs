//! AWS's event streams (`application/vnd.amazon.eventstream`) taken apart, in whatever pieces they come.
//!
//! ```text
//! length of all, u32 │ length of headers, u32 │ CRC-32 of both, u32 │ headers │ payload │ CRC-32 of all before, u32
//! ```
//!
//! Numbers are big-endian. A header is `length of name, u8 │ name │ type, u8 │ value`; those that are read here are texts (type 7, with a
//! length of u16). What is wrong with a stream is an error with its name, and never a guess.

/// Bytes of a frame without headers and payload.
const LEAST: usize = 16;
/// Bytes before the headers.
const PRELUDE: usize = 12;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// `:message-type`: `event`, `exception` or `error`.
    pub kind: String,
    /// Which event or exception.
    pub name: String,
    /// What it says.
    pub payload: Vec<u8>,
}

/// Finds the frames in a stream. At most `limit` bytes are kept of one.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    kept: Vec<u8>,
}

impl Frames {
    /// Frames have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
        }
    }

    /// Takes a piece. Errors name what is wrong with the stream; nothing can be read after one.
    pub fn feed<E: From<String>>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        self.kept.extend_from_slice(piece);
        let mut begin = 0;
        while let Some(length) = self.length(begin)? {
            let Some(bytes) = self.kept.get(begin..begin + length) else {
                break;
            };
            let frame = frame(bytes)?;
            begin += length;
            each(frame)?;
        }
        self.kept.drain(..begin);
        Ok(())
    }

    /// Whether it ends between two frames.
    pub fn is_whole(&self) -> bool {
        self.kept.is_empty()
    }

    /// The length of the frame that begins there, as soon as it is said.
    fn length(&self, begin: usize) -> Result<Option<usize>, String> {
        let Some(prelude) = self.kept.get(begin..begin + PRELUDE) else {
            return Ok(None);
        };
        let length = number(prelude, 0);
        if crc(prelude.get(..8).unwrap_or_default()) != u32::try_from(number(prelude, 8)).unwrap_or(0) {
            return Err("the sum of a frame's beginning is wrong".to_owned());
        }
        if length < LEAST || number(prelude, 4) > length - LEAST {
            return Err("the lengths of a frame cannot be right".to_owned());
        }
        if length > self.limit {
            return Err(format!(
                "a frame of the stream is longer than {} bytes",
                self.limit
            ));
        }
        Ok(Some(length))
    }
}

/// Four bytes as a number; 0 where there are none.
fn number(bytes: &[u8], at: usize) -> usize {
    let own = bytes.get(at..at + 4).and_then(|own| own.try_into().ok());
    own.map_or(0, u32::from_be_bytes) as usize
}

fn frame(bytes: &[u8]) -> Result<Frame, String> {
    let end = bytes.len() - 4;
    let sum = u32::try_from(number(bytes, end)).unwrap_or(0);
    if crc(bytes.get(..end).unwrap_or_default()) != sum {
        return Err("the sum of a frame is wrong".to_owned());
    }
    let payload = PRELUDE + number(bytes, 4);
    let headers = headers(bytes.get(PRELUDE..payload).unwrap_or_default())?;
    let header = |name: &str| {
        let found = headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.clone())
    };
    let kind = header(":message-type").ok_or("a frame does not say what it is")?;
    let name = match kind.as_str() {
        "event" => ":event-type",
        "exception" => ":exception-type",
        "error" => ":error-code",
        _ => return Err("a frame is neither an event nor an error".to_owned()),
    };
    let payload = match (kind.as_str(), header(":error-message")) {
        // These say it in a header.
        ("error", Some(message)) => serde_json::json!({ "message": message }).to_string().into_bytes(),
        _ => bytes.get(payload..end).unwrap_or_default().to_vec(),
    };
    Ok(Frame {
        name: header(name).ok_or("a frame does not say which event it is")?,
        kind,
        payload,
    })
}

/// The headers that are texts, in order.
fn headers(mut rest: &[u8]) -> Result<Vec<(String, String)>, String> {
    let bad = || "the headers of a frame cannot be read".to_owned();
    let mut take = |count: usize| -> Result<&[u8], String> {
        let (own, after) = rest.split_at_checked(count).ok_or_else(bad)?;
        rest = after;
        Ok(own)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| bad());
    let mut found = Vec::new();
    // What is left is empty when nothing can be taken of it.
    while let Ok(length) = take(1).map(|own| usize::from(own[0])) {
        let name = text(take(length)?)?;
        let kind = take(1)?[0];
        let width = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            6 | 7 => {
                let own = take(2)?;
                (usize::from(own[0]) << 8) | usize::from(own[1])
            }
            _ => return Err(bad()),
        };
        let value = take(width)?;
        if kind == 7 {
            found.push((name, text(value)?));
        }
    }
    Ok(found)
}

/// CRC-32 as Ethernet has it.
fn crc(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize];
    !bytes.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut index, mut first) = (0, 0u32);
    while index < 256 {
        let mut sum = first;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
        first += 1;
    }
    table
}

/// A frame as bytes, for tests and for whoever plays the provider.
pub fn encode(kind: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let which = match kind {
        "exception" => ":exception-type",
        "error" => ":error-code",
        _ => ":event-type",
    };
    let mut headers = Vec::new();
    for (own, value) in [
        (which, name),
        (":content-type", "application/json"),
        (":message-type", kind),
    ] {
        headers.push(u8::try_from(own.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(own.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |own: usize| u32::try_from(own).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = Vec::with_capacity(LEAST + headers.len() + payload.len());
    out.extend_from_slice(&length(LEAST + headers.len() + payload.len()));
    out.extend_from_slice(&length(headers.len()));
    out.extend_from_slice(&crc(&out).to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc(&out).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<(Vec<Frame>, bool), String> {
        let mut frames = Frames::new(1000);
        let mut found = Vec::new();
        for piece in pieces {
            frames.feed::<String>(piece, |frame| {
                found.push(frame);
                Ok(())
            })?;
        }
        Ok((found, frames.is_whole()))
    }

    #[test]
    fn sums_are_those_that_everybody_counts() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        // The empty message of AWS's own test suite.
        let empty = [0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235, 125, 152, 200, 255];
        assert_eq!(all(&[&empty]), Err("a frame does not say what it is".to_owned()));
    }

    #[test]
    fn frames_are_the_same_however_they_come() {
        let stream = [
            encode("event", "messageStart", b"{\"role\":\"assistant\"}"),
            encode("event", "contentBlockStop", b"{}"),
            encode("exception", "throttlingException", b"{\"message\":\"slow\"}"),
        ]
        .concat();
        let (wanted, _) = all(&[&stream]).unwrap();
        let names: Vec<_> = wanted
            .iter()
            .map(|own| (own.kind.as_str(), own.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("event", "messageStart"),
                ("event", "contentBlockStop"),
                ("exception", "throttlingException")
            ]
        );
        for at in 0..stream.len() {
            assert_eq!(
                all(&[&stream[..at], &stream[at..]]).unwrap(),
                (wanted.clone(), true),
                "split at {at}"
            );
        }
        assert_eq!(all(&stream.chunks(1).collect::<Vec<_>>()).unwrap().0, wanted);
        assert!(!all(&[&stream[..stream.len() - 1]]).unwrap().1);
    }

    #[test]
    fn what_is_no_frame_is_named_and_bounded() {
        let good = encode("event", "a", b"{}");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let found = all(&[&bad]);
            assert!(found.is_err() || !found.unwrap().1, "byte {at}");
        }
        assert!(
            all(&[&encode("event", "a", &[b' '; 2000])])
                .unwrap_err()
                .contains("longer than 1000")
        );
        assert!(all(&[b"<html>a page and no stream</html>"]).is_err());
        assert!(all(&[&encode("other", "a", b"")]).is_err());
    }
}
