//! A message as a user makes it.

use corelane_wire::{Header, OutgoingMessage};

/// A message to enqueue: a body, and optionally a key and headers.
///
/// ```
/// let message = corelane_client::Message::new("hello")
///     .key("customer-7")
///     .header("content-type", "text/plain");
/// assert_eq!(message.body, b"hello");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// The payload.
    pub body: Vec<u8>,
    /// 1 to 1,024 bytes that say what the message is about.
    pub key: Option<Vec<u8>>,
    /// Up to 64 named values; names may repeat.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// A message with this body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            key: None,
            headers: Vec::new(),
        }
    }

    /// The same message with this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same message with one more named value.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Hands the message to `take` in the form of the wire.
    pub(crate) fn with_outgoing<T>(&self, take: impl FnOnce(&OutgoingMessage<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| Header { name, value })
            .collect();
        take(&OutgoingMessage {
            key: self.key.as_deref(),
            headers: &headers,
            due_ms: None,
            body: &self.body,
        })
    }
}

impl From<&str> for Message {
    fn from(body: &str) -> Self {
        Self::new(body)
    }
}

impl From<String> for Message {
    fn from(body: String) -> Self {
        Self::new(body)
    }
}

impl From<&[u8]> for Message {
    fn from(body: &[u8]) -> Self {
        Self::new(body)
    }
}

impl From<Vec<u8>> for Message {
    fn from(body: Vec<u8>) -> Self {
        Self::new(body)
    }
}
