//! What a queue keeps and takes: its configuration, as requests, answers and records have it.

use super::RequestError;
use super::decode::check_range;
use crate::codec::{CodecError, Reader, put_u8, put_u64};
use crate::limits::{DELAY_MS_MAX, RETENTION_MS_MAX};

/// What a queue keeps, how much it takes, and how; 0 stands everywhere for "not set".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct QueueConfig {
    /// Messages are kept this long although everybody is done with them, and no longer; in milliseconds.
    pub retention_ms: u64,
    /// They are kept while they, their records included, have this many bytes together.
    pub retention_bytes: u64,
    /// They are kept while there are this many.
    pub retention_count: u64,
    /// Messages that wait or are under lease, at most.
    pub messages_max: u64,
    /// About their bytes, records included, at most.
    pub bytes_max: u64,
    /// What happens when there would be more.
    pub overflow: Overflow,
    /// How long a message lives that does not say so itself, from when it may first be given out; in milliseconds.
    pub ttl_ms: u64,
    /// With this many messages that wait or are under lease, receipts ask producers to slow down.
    pub slow_down_at: u64,
    /// Where messages are kept.
    pub storage: Storage,
}

/// What happens when a queue would hold more than it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Overflow {
    /// The batch is refused.
    #[default]
    Refuse = 0,
    /// The oldest messages are dropped.
    DropOldest = 1,
    /// The oldest messages that are ready are dead.
    Dead = 2,
}

/// Where the messages of a queue are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Storage {
    /// In the log of its partition.
    #[default]
    Durable = 0,
    /// In memory.
    Memory = 1,
}

impl Overflow {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The policy with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Refuse),
            1 => Some(Self::DropOldest),
            2 => Some(Self::Dead),
            _ => None,
        }
    }
}

impl Storage {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The storage with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Durable),
            1 => Some(Self::Memory),
            _ => None,
        }
    }
}

impl QueueConfig {
    /// Nothing is set: what a queue has that nobody configured.
    pub const PLAIN: Self = Self {
        retention_ms: 0,
        retention_bytes: 0,
        retention_count: 0,
        messages_max: 0,
        bytes_max: 0,
        overflow: Overflow::Refuse,
        ttl_ms: 0,
        slow_down_at: 0,
        storage: Storage::Durable,
    };

    /// Whether messages are kept although everybody is done with them.
    pub const fn retains(&self) -> bool {
        self.retention_ms > 0 || self.retention_bytes > 0 || self.retention_count > 0
    }

    /// Whether it takes no more than so many messages or bytes.
    pub const fn is_bounded(&self) -> bool {
        self.messages_max > 0 || self.bytes_max > 0
    }

    /// Appends its 58 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.retention_ms);
        put_u64(out, self.retention_bytes);
        put_u64(out, self.retention_count);
        put_u64(out, self.messages_max);
        put_u64(out, self.bytes_max);
        put_u8(out, self.overflow.as_u8());
        put_u64(out, self.ttl_ms);
        put_u64(out, self.slow_down_at);
        put_u8(out, self.storage.as_u8());
    }

    /// Reads what `put` appended; the ranges of times are not checked. The error within is the number of an unknown
    /// policy or storage, and which of them.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Result<Self, (&'static str, u8)>, CodecError> {
        let [retention_ms, retention_bytes, retention_count] = three(reader)?;
        let (messages_max, bytes_max) = (reader.u64()?, reader.u64()?);
        let overflow = reader.u8()?;
        let (ttl_ms, slow_down_at) = (reader.u64()?, reader.u64()?);
        let storage = reader.u8()?;
        let Some(overflow) = Overflow::from_u8(overflow) else {
            return Ok(Err(("overflow", overflow)));
        };
        let Some(storage) = Storage::from_u8(storage) else {
            return Ok(Err(("storage", storage)));
        };
        Ok(Ok(Self {
            retention_ms,
            retention_bytes,
            retention_count,
            messages_max,
            bytes_max,
            overflow,
            ttl_ms,
            slow_down_at,
            storage,
        }))
    }
}

/// Reads the configuration of a request: none if it only asks for it.
pub(super) fn config(reader: &mut Reader<'_>) -> Result<Option<QueueConfig>, RequestError> {
    if !reader.bool()? {
        return Ok(None);
    }
    let config = QueueConfig::read(reader)?;
    let config = config.map_err(|(what, number)| RequestError::OutOfRange {
        what,
        value: number.into(),
        min: 0,
        max: if what == "storage" { 1 } else { 2 },
    })?;
    check_range("retention_ms", config.retention_ms, 0, RETENTION_MS_MAX)?;
    check_range("ttl_ms", config.ttl_ms, 0, DELAY_MS_MAX)?;
    Ok(Some(config))
}

fn three(reader: &mut Reader<'_>) -> Result<[u64; 3], CodecError> {
    Ok([reader.u64()?, reader.u64()?, reader.u64()?])
}
