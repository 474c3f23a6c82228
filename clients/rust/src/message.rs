//! A message as a user makes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelane_wire::{Header, OutgoingMessage, Timestamp};

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
    /// When it may be given out at the earliest, in milliseconds since the Unix epoch; `None` stands for at once.
    pub due_ms: Option<u64>,
    /// How long it lives from when it may first be given out, 1 ms to 366 days; `None` leaves that to the queue.
    pub ttl_ms: Option<u64>,
}

impl Message {
    /// A message with this body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            key: None,
            headers: Vec::new(),
            due_ms: None,
            ttl_ms: None,
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

    /// The same message, not to be given out before this time by the broker's clock; up to 366 days ahead. A time that is
    /// over means at once.
    #[must_use]
    pub const fn due(mut self, due: Timestamp) -> Self {
        self.due_ms = Some(due.as_millis());
        self
    }

    /// The same message, not to be given out before this much time has passed from now on, by the clock of this machine.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = Timestamp(0).add(since_epoch.unwrap_or_default());
        // Whole milliseconds, never early.
        self.due(now.add(delay).add(Duration::from_nanos(999_999)))
    }

    /// The same message, to be given to nobody once this much time has passed from when it may first be given out: 1 ms to
    /// 366 days, which is looked at when it is enqueued. It counts instead of what the queue says.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        // Whole milliseconds, never early.
        let ttl_ms = ttl.as_nanos().div_ceil(1_000_000);
        self.ttl_ms = Some(u64::try_from(ttl_ms).unwrap_or(u64::MAX));
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
            due_ms: self.due_ms,
            ttl_ms: self.ttl_ms,
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
