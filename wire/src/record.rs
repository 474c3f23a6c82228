//! The header of a log record; the payload behind it belongs to `core`.
//!
//! ```text
//!  0     4      5         6       8           12         16     24             28    32        32 + payload_head   bytes
//!  | bytes | kind | version | flags | lsn_delta | reserved | time | payload_head | crc | payload head | message batch |
//!  |<-------------------------------- covered by crc ---------------------------->|     |<- covered ->|
//! ```
//! The batch has checksums of its own, so that the head of a chain stamps lsn and time without touching a body.

use std::fmt;

use crate::checksum::checksum;
use crate::codec::{CodecError, Reader};
use crate::error_code::ErrorCode;
use crate::ids::Timestamp;

/// Length of a record's header.
pub const RECORD_HEADER_BYTES: usize = 32;
/// The version of the record header.
pub const RECORD_VERSION: u8 = 1;

/// What a record says; the encodings of the payloads are in `core`.
pub mod record_kind {
    /// A start or take-over: a new epoch.
    pub const EPOCH: u8 = 1;
    /// A queue comes into being.
    pub const CREATE: u8 = 2;
    /// A message batch.
    pub const ENQUEUE: u8 = 3;
    /// Messages are given out.
    pub const LEASE: u8 = 4;
    /// Messages are finished.
    pub const ACK: u8 = 5;
    /// Messages are given back.
    pub const NACK: u8 = 6;
    /// Leases are lengthened.
    pub const EXTEND: u8 = 7;
    /// Log time passes; leases and windows expire.
    pub const TICK: u8 = 8;
    /// A session ended; its leases return.
    pub const RELEASE: u8 = 9;
    /// A queue is deleted.
    pub const DELETE: u8 = 10;
    /// A subscription comes into being.
    pub const SUBSCRIBE: u8 = 11;
    /// Messages get a new place in the log.
    pub const RELOCATE: u8 = 12;
    /// A subscription has another configuration.
    pub const CONFIGURE: u8 = 13;
    /// A subscription gives nothing out, or does again.
    pub const PAUSE: u8 = 14;
    /// Attempts failed, or messages are set aside.
    pub const REJECT: u8 = 15;
    /// Messages that were set aside are ready again.
    pub const RETURN: u8 = 16;
    /// Messages are finished without a delivery.
    pub const PURGE: u8 = 17;
    /// A subscription begins anew elsewhere.
    pub const SEEK: u8 = 18;
    /// A subscription is deleted.
    pub const UNSUBSCRIBE: u8 = 19;
    /// Messages are done, to be given out then.
    pub const TAKE: u8 = 20;
    /// A message batch of which some messages are due later.
    pub const SCHEDULE: u8 = 21;
    /// A message batch of which some messages have a time to live, and may be due later.
    pub const EXPIRE: u8 = 22;
    /// A queue has another configuration.
    pub const QUEUE_CONFIGURE: u8 = 23;
    /// The oldest messages of a queue go.
    pub const TRIM: u8 = 24;
    /// The dead messages of a subscription go to a queue, or stay.
    pub const DEAD_LETTERS: u8 = 26;
    /// Dead messages are under way to a dead-letter queue.
    pub const FORWARD: u8 = 27;
    /// They have arrived, or never will.
    pub const FORWARDED: u8 = 28;
    /// Scheduled messages are due at another time, or finished.
    pub const RESCHEDULE: u8 = 25;
}

/// The fields before a record's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Length of the whole record, header included.
    pub bytes: u32,
    /// One of [`record_kind`].
    pub kind: u8,
    /// The record's lsn minus the block's first.
    pub lsn_delta: u32,
    /// Log time at which it was appended.
    pub time: Timestamp,
    /// How many bytes of the payload the header's checksum covers.
    pub payload_head: u32,
}

impl RecordHeader {
    /// The header's bytes; `payload_head` must be the first `self.payload_head` bytes of the payload.
    ///
    /// # Panics
    /// If the lengths contradict each other.
    pub fn write(&self, payload_head: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
        assert_eq!(
            self.payload_head as usize,
            payload_head.len(),
            "the payload head has another length than the header says"
        );
        assert!(
            RECORD_HEADER_BYTES + payload_head.len() <= self.bytes as usize,
            "a record of {} bytes cannot hold a payload head of {}",
            self.bytes,
            payload_head.len()
        );
        let mut header = [0; RECORD_HEADER_BYTES];
        header[0..4].copy_from_slice(&self.bytes.to_le_bytes());
        header[4] = self.kind;
        header[5] = RECORD_VERSION;
        header[8..12].copy_from_slice(&self.lsn_delta.to_le_bytes());
        header[16..24].copy_from_slice(&self.time.0.to_le_bytes());
        header[24..28].copy_from_slice(&self.payload_head.to_le_bytes());
        let (covered, crc) = header.split_at_mut(CRC_AT);
        crc.copy_from_slice(&checksum(&[covered, payload_head]).to_le_bytes());
        header
    }

    /// Reads the record at the start of `bytes`, with its payload; bytes after the record are ignored.
    ///
    /// The message batch, which is the payload from `payload_head` on, is not checked here.
    ///
    /// # Errors
    /// See [`RecordError`]; lengths and checksum come before everything else.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let (header, payload) = Self::trusted(bytes)?;
        let (covered_header, crc) = bytes.split_at(CRC_AT);
        let (covered_payload, _) = payload.split_at(header.payload_head as usize);
        let stated = Reader::new(crc).u32()?;
        let computed = checksum(&[covered_header, covered_payload]);
        if stated != computed {
            return Err(RecordError::BadChecksum { stated, computed });
        }
        let mut reader = Reader::new(bytes);
        reader.bytes(VERSION_AT)?;
        let version = reader.u8()?;
        let flags = reader.u16()?;
        reader.u32()?;
        let reserved = reader.u32()?;
        if version != RECORD_VERSION {
            return Err(RecordError::UnsupportedVersion { version });
        }
        if flags != 0 || reserved != 0 {
            return Err(RecordError::ReservedNotZero);
        }
        Ok((header, payload))
    }

    /// Reads a record that was written by [`RecordHeader::write`] or passed [`RecordHeader::read`], and has been in
    /// memory since.
    ///
    /// Bounds are still checked; checksum, version and reserved fields are not.
    ///
    /// # Errors
    /// If the lengths contradict each other or the bytes at hand.
    pub fn trusted(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let mut reader = Reader::new(bytes);
        let length = reader.u32()?;
        let kind = reader.u8()?;
        let _version_and_flags = reader.bytes(3)?;
        let lsn_delta = reader.u32()?;
        let _reserved = reader.u32()?;
        let time = Timestamp(reader.u64()?);
        let payload_head = reader.u32()?;
        let _crc = reader.u32()?;
        let payload_bytes = (length as usize)
            .checked_sub(RECORD_HEADER_BYTES)
            .filter(|payload_bytes| payload_head as usize <= *payload_bytes)
            .ok_or(RecordError::BadLength {
                bytes: length,
                payload_head,
            })?;
        let payload = reader.bytes(payload_bytes)?;
        let header = Self {
            bytes: length,
            kind,
            lsn_delta,
            time,
            payload_head,
        };
        Ok((header, payload))
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end within the record.
    Codec(CodecError),
    /// The lengths in the header contradict each other.
    BadLength {
        /// The length of the record that the header states.
        bytes: u32,
        /// The length of the payload head that it states.
        payload_head: u32,
    },
    /// The checksum does not match.
    BadChecksum {
        /// The one in the header.
        stated: u32,
        /// The one of the bytes.
        computed: u32,
    },
    /// The record has a version that is not known here.
    UnsupportedVersion {
        /// The version found.
        version: u8,
    },
    /// A reserved field is not 0.
    ReservedNotZero,
}

impl RecordError {
    /// The code under which an operator sees it.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Damaged
    }
}

impl From<CodecError> for RecordError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(formatter, "record: {error}"),
            Self::BadLength {
                bytes,
                payload_head,
            } => write!(
                formatter,
                "record states {bytes} bytes and a payload head of {payload_head}"
            ),
            Self::BadChecksum { stated, computed } => write!(
                formatter,
                "record states checksum {stated:08x}, its bytes have {computed:08x}"
            ),
            Self::UnsupportedVersion { version } => {
                write!(
                    formatter,
                    "record has version {version}, known is {RECORD_VERSION}"
                )
            }
            Self::ReservedNotZero => write!(formatter, "reserved fields of the record are not 0"),
        }
    }
}

impl std::error::Error for RecordError {}

const VERSION_AT: usize = 5;
const CRC_AT: usize = 28;

#[cfg(test)]
mod tests;
