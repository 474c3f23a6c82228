//! A message batch: 1..n messages of one producer for one lane.
//!
//! ```text
//!  0        4     8          24         32      36      37         40              44              48        length
//!  | length | crc | producer | sequence | count | class | reserved | entries_bytes | largest_bytes | entries |
//!                 |<------------------------ covered by crc --------------------------------------->|
//! ```
//! The entries have checksums of their own; the length follows from `entries_bytes`, so that a wrong one is found.

use std::fmt;

use super::batch_header::{BatchHeader, BatchPart};
use super::entry::{
    ENTRY_HEADER_BYTES, Message, MessageError, Messages, OutgoingMessage, put_entry, split_entry,
};
use crate::checksum::checksum;
use crate::codec::{CodecError, Reader, length_u32, patch_u32};
use crate::error_code::ErrorCode;
use crate::ids::{ProducerId, Sequence};
use crate::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};

/// Length of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 48;
/// Class of an enqueue whose receipt waits for stable storage.
pub const CLASS_DURABLE: u8 = 0;
/// Class of an enqueue whose receipt may leave before stable storage.
pub const CLASS_MEMORY: u8 = 1;

/// A view of a message batch; what was checked depends on how it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch<'a> {
    /// Who sent it; [`ProducerId::NONE`] if retries are not to be recognised.
    pub producer: ProducerId,
    /// Number of the batch in the producer's sequence for the lane.
    pub sequence: Sequence,
    /// How many messages.
    pub count: u32,
    /// [`CLASS_DURABLE`] or [`CLASS_MEMORY`].
    pub class: u8,
    /// Length of the longest entry.
    pub largest_bytes: u32,
    /// Whether a message has a due time or a time to live; known of a batch that was read, not of one that is trusted.
    pub is_timed: bool,
    /// The entries, one after the other.
    pub entries: &'a [u8],
    /// The whole batch, header included.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a batch from a peer: checks the header, and length, checksum and attributes of every entry.
    ///
    /// # Errors
    /// See [`BatchError`]; the first fault found.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let mut batch = Self::header(bytes, true)?;
        batch.check_header()?;
        let mut count = 0_u32;
        let mut largest_bytes = 0;
        let mut is_timed = false;
        for message in &batch {
            let index = count;
            let message = message.map_err(|error| BatchError::Message { index, error })?;
            largest_bytes = largest_bytes.max(length_u32(message.bytes.len()));
            is_timed |= message.due_ms.is_some() || message.ttl_ms.is_some();
            // Entries have at least 12 bytes each, so a batch cannot hold enough to overflow.
            count += 1;
        }
        if count != batch.count {
            return Err(BatchError::CountMismatch {
                stated: batch.count,
                found: count,
            });
        }
        if largest_bytes != batch.largest_bytes {
            return Err(BatchError::LargestMismatch {
                stated: batch.largest_bytes,
                found: largest_bytes,
            });
        }
        batch.is_timed = is_timed;
        Ok(batch)
    }

    /// Views a batch that passed [`Batch::read`] before and is protected by a checksum since, as in our own log.
    ///
    /// Bounds are still checked, checksums and attributes are not.
    ///
    /// # Errors
    /// If the header and the length of `bytes` contradict each other.
    pub fn trusted(bytes: &'a [u8]) -> Result<Self, BatchError> {
        Self::header(bytes, false)
    }

    /// The bytes of `count` entries from `first_index` on; `None` if the batch does not have that many.
    ///
    /// Takes constant time if all entries have the same length, else walks over the lengths before.
    pub fn messages(&self, first_index: u32, count: u32) -> Option<&'a [u8]> {
        let end_index = first_index.checked_add(count)?;
        if end_index > self.count {
            return None;
        }
        let even_bytes = u64::from(self.largest_bytes) * u64::from(self.count);
        if even_bytes == self.entries.len() as u64 {
            // The largest entry as often as there are entries: all have its length.
            let from = self.largest_bytes as usize * first_index as usize;
            let to = self.largest_bytes as usize * end_index as usize;
            return self.entries.get(from..to);
        }
        let from = skip(self.entries, first_index)?;
        let rest = skip(from, count)?;
        from.get(..from.len() - rest.len())
    }

    /// `count` messages from `first_index` on, to become a batch of their own; `None` if the batch does not have that
    /// many, or none are meant.
    pub fn part(&self, first_index: u32, count: u32) -> Option<BatchPart<'a>> {
        let entries = self.messages(first_index, count)?;
        let lengths = Messages::new(entries).map(|message| Some(message.ok()?.bytes.len()));
        let largest = lengths.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        Some(BatchPart {
            entries,
            largest_bytes: length_u32(largest),
            count,
            of: *self,
        })
    }

    /// The messages, each checked again as it comes.
    pub const fn iter(&self) -> Messages<'a> {
        Messages::new(self.entries)
    }

    /// Takes the header apart; length first, then its checksum if asked for.
    fn header(bytes: &'a [u8], with_checksum: bool) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes);
        let length = reader.u32()?;
        if length as usize != bytes.len() {
            return Err(BatchError::BadLength {
                stated: length,
                found: bytes.len(),
            });
        }
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { bytes: bytes.len() });
        }
        let stated = reader.u32()?;
        if with_checksum {
            let mut covered = reader.clone();
            let computed = checksum(&[covered.bytes(BATCH_HEADER_BYTES - 8)?]);
            if stated != computed {
                return Err(BatchError::BadChecksum { stated, computed });
            }
        }
        let producer = ProducerId(reader.u128()?);
        let sequence = Sequence(reader.u64()?);
        let count = reader.u32()?;
        let class = reader.u8()?;
        let reserved = (reader.u8()?, reader.u16()?);
        let entries_bytes = reader.u32()?;
        let largest_bytes = reader.u32()?;
        let entries = reader.rest();
        if reserved != (0, 0) {
            return Err(BatchError::ReservedNotZero);
        }
        if entries_bytes as usize != entries.len() {
            return Err(BatchError::BadLength {
                stated: entries_bytes,
                found: entries.len(),
            });
        }
        Ok(Self {
            producer,
            sequence,
            count,
            class,
            largest_bytes,
            is_timed: false,
            entries,
            bytes,
        })
    }

    fn check_header(&self) -> Result<(), BatchError> {
        if self.count == 0 || self.count as usize > BATCH_MESSAGES_MAX {
            return Err(BatchError::CountOutOfRange { count: self.count });
        }
        if self.class > CLASS_MEMORY {
            return Err(BatchError::UnknownClass { class: self.class });
        }
        if self.producer == ProducerId::NONE && self.sequence != Sequence(0) {
            return Err(BatchError::SequenceWithoutProducer {
                sequence: self.sequence,
            });
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Result<Message<'a>, MessageError>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}

/// Collects messages into a batch, on the producer's side.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// [`CLASS_DURABLE`] unless changed.
    pub class: u8,
    bytes: Vec<u8>,
    count: u32,
    largest_bytes: u32,
}

impl BatchBuilder {
    /// An empty batch of class durable.
    pub fn new() -> Self {
        Self {
            class: CLASS_DURABLE,
            bytes: vec![0; BATCH_HEADER_BYTES],
            count: 0,
            largest_bytes: 0,
        }
    }

    /// Adds a message; after an error the batch is as before.
    ///
    /// # Errors
    /// [`BatchError::Full`] if the message is fine but does not fit any more: send the batch and begin a new one.
    /// [`BatchError::Message`] if no broker would take the message.
    pub fn push(&mut self, message: &OutgoingMessage<'_>) -> Result<(), BatchError> {
        if self.count as usize >= BATCH_MESSAGES_MAX {
            return Err(BatchError::Full);
        }
        let bytes_before = self.bytes.len();
        let index = self.count;
        let length = put_entry(&mut self.bytes, message)
            .map_err(|error| BatchError::Message { index, error })?;
        if self.bytes.len() > BATCH_BYTES_MAX {
            self.bytes.truncate(bytes_before);
            return Err(BatchError::Full);
        }
        self.count += 1;
        self.largest_bytes = self.largest_bytes.max(length_u32(length));
        Ok(())
    }

    /// How many messages it holds.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The length of the batch so far, header included.
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no message.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Completes the batch under its producer's number.
    ///
    /// # Panics
    /// If there is no message in it.
    pub fn finish(mut self, producer: ProducerId, sequence: Sequence) -> Vec<u8> {
        assert!(self.count > 0, "a batch has at least one message");
        let header = BatchHeader {
            producer,
            sequence,
            count: self.count,
            class: self.class,
            entries_bytes: self.bytes.len() - BATCH_HEADER_BYTES,
            largest_bytes: self.largest_bytes,
        };
        let (place, _) = self.bytes.split_at_mut(BATCH_HEADER_BYTES);
        place.copy_from_slice(&header.encode());
        self.bytes
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives an encoded batch another producer and number; needed after an earlier batch was refused.
///
/// # Errors
/// If `batch` is not a batch by its header; it is unchanged then.
pub fn renumber(
    batch: &mut [u8],
    producer: ProducerId,
    sequence: Sequence,
) -> Result<(), BatchError> {
    Batch::trusted(batch)?;
    let (header, _) = batch.split_at_mut(BATCH_HEADER_BYTES);
    let numbers = header.iter_mut().skip(PRODUCER_AT);
    let fresh = producer
        .0
        .to_le_bytes()
        .into_iter()
        .chain(sequence.0.to_le_bytes());
    for (to, from) in numbers.zip(fresh) {
        *to = from;
    }
    seal_header(batch);
    Ok(())
}

/// Why bytes are not a batch that this version takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BatchError {
    /// A field does not fit.
    Codec(CodecError),
    /// A stated length is not the one found.
    BadLength {
        /// The one in the header.
        stated: u32,
        /// The one of the bytes.
        found: usize,
    },
    /// The batch is longer than [`BATCH_BYTES_MAX`].
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The checksum of the header does not match.
    BadChecksum {
        /// The one in the header.
        stated: u32,
        /// The one of the bytes.
        computed: u32,
    },
    /// A reserved field is not 0.
    ReservedNotZero,
    /// There is no message, or more than [`BATCH_MESSAGES_MAX`].
    CountOutOfRange {
        /// The count found.
        count: u32,
    },
    /// The class is neither durable nor memory.
    UnknownClass {
        /// The class found.
        class: u8,
    },
    /// A batch without a producer has no sequence.
    SequenceWithoutProducer {
        /// The sequence found.
        sequence: Sequence,
    },
    /// The count is not the number of entries.
    CountMismatch {
        /// The one in the header.
        stated: u32,
        /// The one of the entries.
        found: u32,
    },
    /// The length of the longest entry is another one.
    LargestMismatch {
        /// The one in the header.
        stated: u32,
        /// The one of the entries.
        found: u32,
    },
    /// A message is refused.
    Message {
        /// Which one, from 0.
        index: u32,
        /// Why.
        error: MessageError,
    },
    /// The message does not fit into what is left of the batch; only [`BatchBuilder::push`] says so.
    Full,
}

impl BatchError {
    /// The code for the answer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Codec(_) | Self::BadLength { .. } => ErrorCode::Malformed,
            Self::CountMismatch { .. }
            | Self::LargestMismatch { .. }
            | Self::SequenceWithoutProducer { .. } => ErrorCode::Malformed,
            Self::TooLarge { .. } | Self::Full => ErrorCode::MessageTooLarge,
            Self::BadChecksum { .. } => ErrorCode::BadMessageChecksum,
            Self::ReservedNotZero => ErrorCode::ReservedNotZero,
            Self::CountOutOfRange { .. } | Self::UnknownClass { .. } => ErrorCode::OutOfRange,
            Self::Message { error, .. } => error.code(),
        }
    }
}

impl From<CodecError> for BatchError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(formatter, "batch: {error}"),
            Self::BadLength { stated, found } => {
                write!(formatter, "batch states {stated} bytes, it has {found}")
            }
            Self::TooLarge { bytes } => write!(
                formatter,
                "batch of {bytes} bytes, at most {BATCH_BYTES_MAX} are allowed"
            ),
            Self::BadChecksum { stated, computed } => write!(
                formatter,
                "batch states checksum {stated:08x}, its header has {computed:08x}"
            ),
            Self::ReservedNotZero => write!(formatter, "reserved fields of the batch are not 0"),
            Self::CountOutOfRange { count } => write!(
                formatter,
                "batch of {count} messages, 1 to {BATCH_MESSAGES_MAX} are allowed"
            ),
            Self::UnknownClass { class } => {
                write!(
                    formatter,
                    "class {class} is neither durable (0) nor memory (1)"
                )
            }
            Self::SequenceWithoutProducer { sequence } => {
                write!(formatter, "batch has sequence {sequence} but no producer")
            }
            Self::CountMismatch { stated, found } => {
                write!(formatter, "batch states {stated} messages, it has {found}")
            }
            Self::LargestMismatch { stated, found } => write!(
                formatter,
                "batch states {stated} bytes for its longest message, it has {found}"
            ),
            Self::Message { index, error } => write!(formatter, "message {index}: {error}"),
            Self::Full => write!(formatter, "the batch has no room for the message"),
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Codec(error) => Some(error),
            Self::Message { error, .. } => Some(error),
            Self::BadLength { .. }
            | Self::TooLarge { .. }
            | Self::BadChecksum { .. }
            | Self::ReservedNotZero
            | Self::CountOutOfRange { .. }
            | Self::UnknownClass { .. }
            | Self::SequenceWithoutProducer { .. }
            | Self::CountMismatch { .. }
            | Self::LargestMismatch { .. }
            | Self::Full => None,
        }
    }
}

/// What follows the first `count` entries.
fn skip(mut entries: &[u8], count: u32) -> Option<&[u8]> {
    for _ in 0..count {
        (_, entries) = split_entry(entries).ok()?;
    }
    Some(entries)
}

/// Writes the checksum into a header whose other fields are complete.
pub(super) fn seal_header(batch: &mut [u8]) {
    let (header, _) = batch.split_at(BATCH_HEADER_BYTES);
    let (_, covered) = header.split_at(8);
    let crc = checksum(&[covered]);
    patch_u32(batch, 4, crc);
}

const PRODUCER_AT: usize = 8;
const _: () = assert!(BATCH_MESSAGES_MAX * ENTRY_HEADER_BYTES <= BATCH_BYTES_MAX);
