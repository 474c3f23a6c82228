//! One message: a length, a checksum, attributes and a body.
//!
//! ```text
//!  0        4      8                  10      12           12 + attributes_bytes      length
//!  | length | crc  | attributes_bytes | flags | attributes | body                     |
//!                  |<------------------------- covered by crc ------------------------>|
//!  attribute:  | tag u8 | length u16 | value |
//! ```

use std::fmt;

use crate::checksum::checksum;
use crate::codec::{
    CodecError, Reader, length_u32, patch_u32, put_bytes16, put_u8, put_u16, put_u32, put_u64,
};
use crate::error_code::ErrorCode;
use crate::limits::{
    ATTRIBUTES_BYTES_MAX, DELAY_MS_MAX, HEADERS_MAX, KEY_BYTES_MAX, MESSAGE_BYTES_MAX,
};

/// Length of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 12;

/// A message as a producer hands it over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutgoingMessage<'a> {
    /// 1 to 1,024 bytes that say what the message is about, for ordering by key.
    pub key: Option<&'a [u8]>,
    /// Up to 64 named values; names may repeat, the order is kept.
    pub headers: &'a [Header<'a>],
    /// When it may be given out at the earliest, in milliseconds since the Unix epoch; `None` stands for at once.
    pub due_ms: Option<u64>,
    /// How long it lives from when it may first be given out, 1 ms to 366 days; `None` leaves that to the queue.
    pub ttl_ms: Option<u64>,
    /// The payload.
    pub body: &'a [u8],
}

/// A named value of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// At least one byte of UTF-8.
    pub name: &'a str,
    /// Any bytes.
    pub value: &'a [u8],
}

/// A message whose checksum is right and whose attributes are all understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What the message is about, if the producer said so.
    pub key: Option<&'a [u8]>,
    /// When it may be given out at the earliest, in milliseconds since the Unix epoch, if the producer said so.
    pub due_ms: Option<u64>,
    /// How long it lives from when it may first be given out, in milliseconds, if the producer said so.
    pub ttl_ms: Option<u64>,
    /// The payload.
    pub body: &'a [u8],
    /// The whole entry, as it must be passed on.
    pub bytes: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the entry at the start of `bytes`, with what follows it; checks everything.
    ///
    /// # Errors
    /// See [`MessageError`]; the checksum is compared before anything but the length is looked at.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), MessageError> {
        let (entry, rest) = split_entry(bytes)?;
        let mut reader = Reader::new(entry);
        reader.u32()?;
        let stated = reader.u32()?;
        let computed = checksum(&[reader.rest()]);
        if stated != computed {
            return Err(MessageError::BadChecksum { stated, computed });
        }
        let attributes_bytes = usize::from(reader.u16()?);
        let flags = reader.u16()?;
        if flags != 0 {
            return Err(MessageError::ReservedNotZero { flags });
        }
        if attributes_bytes > ATTRIBUTES_BYTES_MAX {
            return Err(MessageError::AttributesTooLarge {
                bytes: attributes_bytes,
            });
        }
        let attributes = reader.bytes(attributes_bytes)?;
        let known = check_attributes(attributes)?;
        let message = Self {
            key: known.key,
            due_ms: known.due_ms,
            ttl_ms: known.ttl_ms,
            body: reader.rest(),
            bytes: entry,
            attributes,
        };
        Ok((message, rest))
    }

    /// The named values, in the producer's order.
    pub const fn headers(&self) -> Headers<'a> {
        Headers {
            rest: Reader::new(self.attributes),
        }
    }
}

/// Iterates over the named values of a message.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        // The attributes were checked when the message was read, so an error cannot happen here (M2).
        while let Ok((tag, value)) = read_attribute(&mut self.rest) {
            if tag == TAG_HEADER {
                return read_header(value).ok();
            }
        }
        None
    }
}

/// Iterates over consecutive entries, checking each; ends after the first error.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Starts at the first entry of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Message::read(self.rest) {
            Ok((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Why bytes are not a message that this version takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MessageError {
    /// A field does not fit.
    Codec(CodecError),
    /// The stated length is below that of the header.
    BadLength {
        /// The stated length.
        length: u32,
    },
    /// The entry is longer than [`MESSAGE_BYTES_MAX`].
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The checksum does not match.
    BadChecksum {
        /// The one in the entry.
        stated: u32,
        /// The one of the bytes.
        computed: u32,
    },
    /// The reserved flags are not 0.
    ReservedNotZero {
        /// The flags found.
        flags: u16,
    },
    /// The attributes are longer than [`ATTRIBUTES_BYTES_MAX`].
    AttributesTooLarge {
        /// Their length.
        bytes: usize,
    },
    /// The key has no byte, or more than [`KEY_BYTES_MAX`].
    KeyOutOfRange {
        /// Its length.
        bytes: usize,
    },
    /// There are two keys.
    KeyRepeated,
    /// The message has two due times.
    DueTimeRepeated,
    /// The message has two times to live.
    TimeToLiveRepeated,
    /// The time to live is 0, or longer than [`DELAY_MS_MAX`].
    TimeToLiveOutOfRange {
        /// The time to live, in milliseconds.
        ttl_ms: u64,
    },
    /// The name of a header has no byte.
    HeaderWithoutName,
    /// There are more than [`HEADERS_MAX`] headers.
    TooManyHeaders,
    /// An attribute is not served by this version, or is unknown and critical.
    NotSupported {
        /// The tag of the attribute.
        tag: u8,
    },
}

impl MessageError {
    /// The code for the answer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Codec(_) | Self::BadLength { .. } => ErrorCode::Malformed,
            Self::KeyRepeated
            | Self::DueTimeRepeated
            | Self::TimeToLiveRepeated
            | Self::HeaderWithoutName => ErrorCode::Malformed,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::BadChecksum { .. } => ErrorCode::BadMessageChecksum,
            Self::ReservedNotZero { .. } => ErrorCode::ReservedNotZero,
            Self::AttributesTooLarge { .. }
            | Self::KeyOutOfRange { .. }
            | Self::TimeToLiveOutOfRange { .. }
            | Self::TooManyHeaders => ErrorCode::OutOfRange,
            Self::NotSupported { .. } => ErrorCode::NotSupported,
        }
    }
}

impl From<CodecError> for MessageError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(formatter, "message: {error}"),
            Self::BadLength { length } => write!(
                formatter,
                "message states length {length}, its header alone has {ENTRY_HEADER_BYTES}"
            ),
            Self::TooLarge { bytes } => write!(
                formatter,
                "message of {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed"
            ),
            Self::BadChecksum { stated, computed } => write!(
                formatter,
                "message states checksum {stated:08x}, its bytes have {computed:08x}"
            ),
            Self::ReservedNotZero { flags } => {
                write!(formatter, "reserved message flags are {flags:04x}, not 0")
            }
            Self::AttributesTooLarge { bytes } => write!(
                formatter,
                "attributes of {bytes} bytes, at most {ATTRIBUTES_BYTES_MAX} are allowed"
            ),
            Self::KeyOutOfRange { bytes } => write!(
                formatter,
                "key of {bytes} bytes, 1 to {KEY_BYTES_MAX} are allowed"
            ),
            Self::KeyRepeated => write!(formatter, "message has two keys"),
            Self::DueTimeRepeated => write!(formatter, "message has two due times"),
            Self::TimeToLiveRepeated => write!(formatter, "message has two times to live"),
            Self::TimeToLiveOutOfRange { ttl_ms } => write!(
                formatter,
                "time to live of {ttl_ms} ms, 1 to {DELAY_MS_MAX} are allowed; leave it out for none"
            ),
            Self::HeaderWithoutName => write!(formatter, "header has an empty name"),
            Self::TooManyHeaders => {
                write!(formatter, "message has more than {HEADERS_MAX} headers")
            }
            Self::NotSupported { tag } => write!(
                formatter,
                "attribute {} (0x{tag:02x}) is not supported",
                attribute_name(*tag)
            ),
        }
    }
}

impl std::error::Error for MessageError {}

/// The name of an attribute in texts and documents.
pub const fn attribute_name(tag: u8) -> &'static str {
    match tag {
        TAG_KEY => "key",
        TAG_HEADER => "header",
        TAG_CLIENT_ID => "client_id",
        TAG_REPLY_TO => "reply_to",
        TAG_PRIORITY => "priority",
        TAG_DUE_TIME => "due_time",
        TAG_TIME_TO_LIVE => "time_to_live",
        _ => "unknown",
    }
}

/// Cuts the entry at the start of `bytes` off by its length; looks at nothing else.
pub(super) fn split_entry(bytes: &[u8]) -> Result<(&[u8], &[u8]), MessageError> {
    let length = Reader::new(bytes).u32()?;
    let count = length as usize;
    if count < ENTRY_HEADER_BYTES {
        return Err(MessageError::BadLength { length });
    }
    if count > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLarge { bytes: count });
    }
    bytes
        .split_at_checked(count)
        .ok_or(MessageError::Codec(CodecError::Truncated {
            needed: count,
            left: bytes.len(),
        }))
}

/// Appends the entry of a message; on an error `out` is as before. Returns the entry's length.
pub(super) fn put_entry(
    out: &mut Vec<u8>,
    message: &OutgoingMessage<'_>,
) -> Result<usize, MessageError> {
    let attributes_bytes = check_outgoing(message)?;
    let start = out.len();
    put_u32(out, 0);
    put_u32(out, 0);
    put_u16(out, attributes_bytes);
    put_u16(out, 0);
    if let Some(key) = message.key {
        put_u8(out, TAG_KEY);
        put_bytes16(out, key);
    }
    if let Some(due_ms) = message.due_ms {
        put_u8(out, TAG_DUE_TIME);
        put_u16(out, DUE_TIME_BYTES);
        put_u64(out, due_ms);
    }
    if let Some(ttl_ms) = message.ttl_ms {
        put_u8(out, TAG_TIME_TO_LIVE);
        put_u16(out, TIME_TO_LIVE_BYTES);
        put_u64(out, ttl_ms);
    }
    for header in message.headers {
        let name_bytes = header.name.len();
        put_u8(out, TAG_HEADER);
        put_u16(out, length_u16(2 + name_bytes + header.value.len()));
        put_bytes16(out, header.name.as_bytes());
        out.extend_from_slice(header.value);
    }
    out.extend_from_slice(message.body);
    let length = out.len() - start;
    patch_u32(out, start, length_u32(length));
    let (_, covered) = out.split_at(start + COVERED_FROM);
    let crc = checksum(&[covered]);
    patch_u32(out, start + 4, crc);
    Ok(length)
}

/// Checks what the decoder would refuse; returns the length of the attributes.
fn check_outgoing(message: &OutgoingMessage<'_>) -> Result<u16, MessageError> {
    if message.headers.len() > HEADERS_MAX {
        return Err(MessageError::TooManyHeaders);
    }
    if message.headers.iter().any(|header| header.name.is_empty()) {
        return Err(MessageError::HeaderWithoutName);
    }
    let mut attributes_bytes = 0_usize;
    if let Some(key) = message.key {
        check_key(key)?;
        attributes_bytes += 3 + key.len();
    }
    if message.due_ms.is_some() {
        attributes_bytes += 3 + usize::from(DUE_TIME_BYTES);
    }
    if let Some(ttl_ms) = message.ttl_ms {
        check_time_to_live(ttl_ms)?;
        attributes_bytes += 3 + usize::from(TIME_TO_LIVE_BYTES);
    }
    for header in message.headers {
        attributes_bytes = attributes_bytes
            .saturating_add(5)
            .saturating_add(header.name.len())
            .saturating_add(header.value.len());
    }
    if attributes_bytes > ATTRIBUTES_BYTES_MAX {
        return Err(MessageError::AttributesTooLarge {
            bytes: attributes_bytes,
        });
    }
    let bytes = ENTRY_HEADER_BYTES
        .saturating_add(attributes_bytes)
        .saturating_add(message.body.len());
    if bytes > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLarge { bytes });
    }
    Ok(length_u16(attributes_bytes))
}

/// The attributes of a message but for its headers.
#[derive(Default)]
struct Known<'a> {
    key: Option<&'a [u8]>,
    due_ms: Option<u64>,
    ttl_ms: Option<u64>,
}

/// Checks every attribute.
fn check_attributes(attributes: &[u8]) -> Result<Known<'_>, MessageError> {
    let mut reader = Reader::new(attributes);
    let mut known = Known::default();
    let mut headers_count = 0;
    while reader.left() > 0 {
        let (tag, value) = read_attribute(&mut reader)?;
        match tag {
            TAG_KEY => {
                check_key(value)?;
                if known.key.replace(value).is_some() {
                    return Err(MessageError::KeyRepeated);
                }
            }
            TAG_DUE_TIME => {
                let due_ms = number(value)?;
                if known.due_ms.replace(due_ms).is_some() {
                    return Err(MessageError::DueTimeRepeated);
                }
            }
            TAG_TIME_TO_LIVE => {
                let ttl_ms = number(value)?;
                check_time_to_live(ttl_ms)?;
                if known.ttl_ms.replace(ttl_ms).is_some() {
                    return Err(MessageError::TimeToLiveRepeated);
                }
            }
            TAG_HEADER => {
                headers_count += 1;
                if headers_count > HEADERS_MAX {
                    return Err(MessageError::TooManyHeaders);
                }
                read_header(value)?;
            }
            TAG_CLIENT_ID | TAG_REPLY_TO => return Err(MessageError::NotSupported { tag }),
            _ if tag & TAG_CRITICAL != 0 => return Err(MessageError::NotSupported { tag }),
            // Unknown and not critical: a later version may say more than this one needs to know.
            _ => {}
        }
    }
    Ok(known)
}

/// The value of an attribute that is a number.
fn number(value: &[u8]) -> Result<u64, CodecError> {
    let mut reader = Reader::new(value);
    let number = reader.u64()?;
    reader.finish()?;
    Ok(number)
}

fn read_attribute<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), CodecError> {
    let tag = reader.u8()?;
    Ok((tag, reader.bytes16()?))
}

fn read_header(value: &[u8]) -> Result<Header<'_>, MessageError> {
    let mut reader = Reader::new(value);
    let name = reader.str16()?;
    if name.is_empty() {
        return Err(MessageError::HeaderWithoutName);
    }
    Ok(Header {
        name,
        value: reader.rest(),
    })
}

const fn check_key(key: &[u8]) -> Result<(), MessageError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(MessageError::KeyOutOfRange { bytes: key.len() });
    }
    Ok(())
}

const fn check_time_to_live(ttl_ms: u64) -> Result<(), MessageError> {
    if ttl_ms == 0 || ttl_ms > DELAY_MS_MAX {
        return Err(MessageError::TimeToLiveOutOfRange { ttl_ms });
    }
    Ok(())
}

fn length_u16(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("ATTRIBUTES_BYTES_MAX is below 64 KiB")
}

const COVERED_FROM: usize = 8;
const TAG_KEY: u8 = 0x01;
const TAG_HEADER: u8 = 0x02;
const TAG_CLIENT_ID: u8 = 0x03;
const TAG_REPLY_TO: u8 = 0x04;
const TAG_PRIORITY: u8 = 0x85;
const TAG_DUE_TIME: u8 = 0x86;
const TAG_TIME_TO_LIVE: u8 = 0x87;
const TAG_CRITICAL: u8 = 0x80;
const DUE_TIME_BYTES: u16 = 8;
const TIME_TO_LIVE_BYTES: u16 = 8;
