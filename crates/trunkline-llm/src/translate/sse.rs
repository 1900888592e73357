//! Event streams taken apart, in whatever pieces they come.

/// A stream that cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

impl From<String> for Unreadable {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What a stream says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The data of an event.
    Data(String),
    /// A comment: somebody is still there.
    Comment,
}

/// Finds the events in a stream. At most `limit` bytes are kept of one.
#[derive(Debug)]
pub(super) struct Events {
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// The data of the event that has no end yet.
    data: Option<String>,
    /// The last line ended with a carriage return, to which a line feed may belong.
    after_return: bool,
}

impl Events {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: None,
            after_return: false,
        }
    }

    /// Takes a piece.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(Item) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(at) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.check(rest.len())?;
                self.line.extend_from_slice(rest);
                return Ok(());
            };
            self.check(at)?;
            self.line.extend_from_slice(&rest[..at]);
            self.after_return = rest[at] == b'\r';
            rest = &rest[at + 1..];
            let line = std::mem::take(&mut self.line);
            if let Some(item) = self.end_of(&line)? {
                each(item)?;
            }
        }
        Ok(())
    }

    /// The stream is over. What has no end is an event all the same: there are services that leave the last blank line out.
    pub(super) fn finish(&mut self) -> Result<Option<Item>, Unreadable> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_of(&line)?;
        }
        Ok(self.data.take().map(Item::Data))
    }

    fn check(&self, more: usize) -> Result<(), Unreadable> {
        let kept = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if kept + more > self.limit {
            return Err(Unreadable(format!(
                "an event of the stream is longer than {} bytes",
                self.limit
            )));
        }
        Ok(())
    }

    fn end_of(&mut self, line: &[u8]) -> Result<Option<Item>, Unreadable> {
        if line.is_empty() {
            return Ok(self.data.take().map(Item::Data));
        }
        if line.first() == Some(&b':') {
            return Ok(Some(Item::Comment));
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(data).map_err(|_| Unreadable("the stream is not UTF-8".to_owned()))?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(text);
            }
            None => self.data = Some(text.to_owned()),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Item> {
        let mut events = Events::new(1000);
        let mut found = Vec::new();
        for piece in pieces {
            events
                .feed(piece, |item| {
                    found.push(item);
                    Ok(())
                })
                .unwrap();
        }
        found.extend(events.finish().unwrap());
        found
    }

    #[test]
    fn events_are_the_same_however_they_come() {
        let stream =
            "event: a\r\ndata: {\"x\":\u{e9}}\r\n\r\n: ping\n\ndata:1\ndata: 2\n\nid: 7\n\rdata: end"
                .as_bytes();
        let wanted = || {
            vec![
                Item::Data("{\"x\":\u{e9}}".to_owned()),
                Item::Comment,
                Item::Data("1\n2".to_owned()),
                Item::Data("end".to_owned()),
            ]
        };
        assert_eq!(all(&[stream]), wanted());
        for at in 0..stream.len() {
            assert_eq!(all(&[&stream[..at], &stream[at..]]), wanted(), "split at {at}");
        }
        assert_eq!(all(&stream.chunks(1).collect::<Vec<_>>()), wanted());
    }

    #[test]
    fn an_event_is_bounded() {
        let mut events = Events::new(10);
        assert!(events.feed(b"data: 1\ndata: 234567890", |_| Ok(())).is_err());
        let mut events = Events::new(10);
        assert!(events.feed(b"data: \xff\n", |_| Ok(())).is_err());
    }
}
