//! What a queue keeps and takes, field by field.

use std::time::Duration;

use corelane_wire::{Overflow, QueueConfig, Storage};

/// What a queue keeps and takes: nothing is set until it is named, and the whole replaces what was configured before.
///
/// ```
/// use std::time::Duration;
///
/// use corelane_client::{Overflow, QueueOptions};
///
/// // Everything can be read again for a week; at most a million messages wait, and producers slow down before that.
/// let options = QueueOptions::new()
///     .retention(Duration::from_hours(7 * 24))
///     .messages_max(1_000_000)
///     .overflow(Overflow::DropOldest)
///     .slow_down_at(500_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "it says nothing until a queue is configured with it"]
pub struct QueueOptions {
    config: QueueConfig,
}

impl QueueOptions {
    /// Nothing is set: messages are kept until everybody is done with them, and everything is taken.
    pub const fn new() -> Self {
        Self {
            config: QueueConfig::PLAIN,
        }
    }

    /// What was configured before, to change some of it.
    pub const fn of(config: QueueConfig) -> Self {
        Self { config }
    }

    /// Messages are kept this long although everybody is done with them, and no longer; to the millisecond.
    pub fn retention(mut self, time: Duration) -> Self {
        self.config.retention_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// They are kept while they, their records included, have this many bytes together.
    pub const fn retention_bytes(mut self, bytes: u64) -> Self {
        self.config.retention_bytes = bytes;
        self
    }

    /// They are kept while there are this many.
    pub const fn retention_count(mut self, count: u64) -> Self {
        self.config.retention_count = count;
        self
    }

    /// So many messages wait or are under lease at most.
    pub const fn messages_max(mut self, messages: u64) -> Self {
        self.config.messages_max = messages;
        self
    }

    /// About so many bytes of them, records included, at most.
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.config.bytes_max = bytes;
        self
    }

    /// What happens when there would be more.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.config.overflow = overflow;
        self
    }

    /// With so many messages that wait or are under lease, receipts ask producers to slow down.
    pub const fn slow_down_at(mut self, messages: u64) -> Self {
        self.config.slow_down_at = messages;
        self
    }

    /// Where messages are kept.
    pub const fn storage(mut self, storage: Storage) -> Self {
        self.config.storage = storage;
        self
    }
}

impl From<QueueOptions> for QueueConfig {
    fn from(options: QueueOptions) -> Self {
        options.config
    }
}
