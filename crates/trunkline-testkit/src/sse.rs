//! Event streams as a client reads them.

/// Cuts bytes into the `data` of events.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    unread: Vec<u8>,
    data: Vec<String>,
    /// The last `id:` that came.
    pub(crate) last_id: Option<String>,
}

impl SseReader {
    /// Takes the next bytes, gives the data of each event that is now complete. Comments give nothing.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(data) = line.strip_prefix("data:") {
                self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
            } else if let Some(id) = line.strip_prefix("id:") {
                self.last_id = Some(id.trim_start().to_owned());
            } else if line.is_empty() && !self.data.is_empty() {
                events.push(std::mem::take(&mut self.data).join("\n"));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_come_in_any_pieces() {
        let text = ": hello\r\nevent: message\r\ndata: {\"a\":1}\r\n\r\nid: 7\ndata: two\ndata: lines\n\ndata: unfinished";
        for size in [1, 2, 7, text.len()] {
            let mut reader = SseReader::default();
            let events: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| reader.push(piece))
                .collect();
            assert_eq!(events, ["{\"a\":1}", "two\nlines"], "pieces of {size}");
            assert_eq!(reader.last_id.as_deref(), Some("7"));
        }
    }
}
