//! Message bodies that prove what they are: the token, the length, and bytes that follow from both.

use corelane_wire::Message;

use crate::sim::checker::{Body, Token};
use crate::sim::random::splitmix;

/// The least length of a body.
pub const BODY_BYTES_MIN: usize = 12;

/// The body of `bytes` bytes for the message `token`.
pub fn make(token: Token, bytes: usize) -> Vec<u8> {
    let bytes = bytes.max(BODY_BYTES_MIN);
    let mut body = Vec::with_capacity(bytes + 8);
    body.extend_from_slice(&token.to_le_bytes());
    body.extend_from_slice(&(bytes as u32).to_le_bytes());
    let mut state = token ^ bytes as u64;
    while body.len() < bytes {
        body.extend_from_slice(&splitmix(&mut state).to_le_bytes());
    }
    body.truncate(bytes);
    body
}

/// Which message the entry is, if every byte of its body is as it was made.
pub fn judge(message: &Message<'_>) -> Body {
    let body = message.body;
    let Some(token) = body
        .first_chunk::<8>()
        .map(|bytes| u64::from_le_bytes(*bytes))
    else {
        return Body::Foreign;
    };
    if make(token, body.len()) == body {
        Body::Intact(token)
    } else {
        Body::Foreign
    }
}
