//! Bodies that take their time, break off or never end.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

/// A body; an error in it closes the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const SPACES: &[u8] = &[b' '; 64 * 1024];

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// A body of pieces as they come.
pub(crate) fn pieces(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// These bytes, then the connection is closed.
pub(crate) fn broken_off(bytes: Bytes) -> Body {
    // Without the pause hyper drops what it has not yet written.
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("the script breaks off here"))
    });
    pieces(stream::iter([Ok(bytes)]).chain(end))
}

/// These bytes, then nothing.
pub(crate) fn stalled(bytes: Bytes) -> Body {
    pieces(stream::iter([Ok(bytes)]).chain(stream::pending()))
}

/// `head`, so many spaces, `tail`.
pub(crate) fn padded(head: Bytes, spaces: usize, tail: Bytes) -> Body {
    let whole = stream::iter((0..spaces / SPACES.len()).map(|_| Ok(Bytes::from_static(SPACES))));
    let rest = Bytes::from_static(&SPACES[..spaces % SPACES.len()]);
    pieces(
        stream::iter([Ok(head)])
            .chain(whole)
            .chain(stream::iter([Ok(rest), Ok(tail)])),
    )
}

/// `first`, then `again` without end, each after the pause.
pub(crate) fn forever(first: &'static str, again: impl Into<Bytes>, pause: Duration) -> Body {
    let again = again.into();
    let repeats = stream::unfold(again, move |again| async move {
        if pause.is_zero() {
            // So that a client that does not read does not starve the others of this runtime.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
        Some((Ok(again.clone()), again))
    });
    pieces(stream::iter([Ok(Bytes::from_static(first.as_bytes()))]).chain(repeats))
}

/// The messages, each after its pause.
pub(crate) fn timed(messages: Vec<(Duration, String)>) -> Body {
    pieces(stream::iter(messages).then(|(pause, message)| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(event(&message))
    }))
}

/// So many messages, each made when it is sent, after its pause; then the last one.
pub(crate) fn stamped(
    count: u32,
    every: Duration,
    message: impl Fn() -> String + Send + 'static,
    last: &str,
) -> Body {
    let messages = stream::unfold((0, message), move |(sent, message)| async move {
        if sent == count {
            return None;
        }
        tokio::time::sleep(every).await;
        Some((Ok(event(&message())), (sent + 1, message)))
    });
    pieces(messages.chain(stream::iter([Ok(event(last))])))
}

/// One message as an event.
pub(crate) fn event(message: &str) -> Bytes {
    // A line break in pretty JSON needs a `data:` line of its own; the reader puts it back.
    format!("event: message\ndata: {}\n\n", message.replace('\n', "\ndata: ")).into()
}
