//! The stable numbers under which refusals travel.
//!
//! Owns the one table of code, name and hint; a number once given is never given another meaning.

use std::fmt;

/// Who has to act on a refusal; the code divided by 1,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// The request cannot succeed as it is: it, or the state it asks about, is wrong.
    Client,
    /// The same request may succeed later, or elsewhere.
    Retry,
    /// The partition or the broker cannot go on; a human must look.
    Fatal,
}

/// Why a request is refused, or 0 for success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Success.
    Ok = 0,
    /// The bytes do not have the form of the request.
    Malformed = 1001,
    /// The kind of the frame is not a request that this version knows.
    UnknownKind = 1002,
    /// No version of the protocol is spoken by both sides.
    UnsupportedVersion = 1003,
    /// The first request on a connection must be HELLO.
    HelloRequired = 1004,
    /// A connection is greeted once.
    HelloRepeated = 1005,
    /// The checksum of the frame's head is wrong.
    BadChecksum = 1006,
    /// The frame is longer than allowed.
    FrameTooLarge = 1007,
    /// The bytes do not begin like a frame.
    BadMagic = 1008,
    /// A reserved field is not 0.
    ReservedNotZero = 1009,
    /// The name is empty, too long or has a byte outside the alphabet.
    InvalidName = 1010,
    /// A number is outside its range.
    OutOfRange = 1011,
    /// The protocol has a place for it, but this version does not serve it.
    NotSupported = 1012,
    /// A request with this correlation is not answered yet.
    CorrelationInUse = 1013,
    /// A message or batch is longer than allowed.
    MessageTooLarge = 1014,
    /// The checksum of a message or batch is wrong.
    BadMessageChecksum = 1015,
    /// The queue does not exist.
    QueueNotFound = 1020,
    /// The queue exists with other properties.
    QueueExists = 1021,
    /// No consumer of this connection has the number.
    UnknownConsumer = 1022,
    /// A consumer of this connection has the number already.
    ConsumerExists = 1023,
    /// The lease is not held any more, or never was.
    StaleLease = 1024,
    /// The queue has no such subscription.
    SubscriptionNotFound = 1025,
    /// The subscription exists with another configuration.
    SubscriptionExists = 1026,
    /// The queue does not keep a message of that offset, nor gives it out next.
    OffsetNotKept = 1027,
    /// The broker does not know the producer, and its sequence does not begin at 0.
    UnknownProducer = 1030,
    /// The sequence leaves a gap, or lies before what is remembered.
    OutOfSequence = 1031,
    /// The queue does not offer the class of the enqueue.
    ClassNotAvailable = 1032,
    /// The tenant does not exist.
    TenantUnknown = 1033,
    /// The token is missing or not accepted.
    Unauthenticated = 1034,
    /// A quota or a bound of the broker is reached.
    LimitExceeded = 1035,
    /// The broker has more to do than it may hold.
    Busy = 2001,
    /// The disk has no room left for messages.
    DiskFull = 2002,
    /// The partition lives elsewhere.
    NotOwner = 2003,
    /// The partition is not ready yet.
    Starting = 2004,
    /// The broker is shutting down.
    ShuttingDown = 2005,
    /// The request belongs to an epoch that is over.
    StaleEpoch = 2006,
    /// As many messages wait in the queue as it may hold.
    QueueFull = 2007,
    /// A write to the partition's log failed; it takes nothing more until the next start.
    Poisoned = 3001,
    /// The partition's log is damaged.
    Damaged = 3002,
    /// The broker found its own state wrong.
    Internal = 3003,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// The code with this number, if this version knows it.
    pub fn from_u16(number: u16) -> Option<Self> {
        TABLE
            .iter()
            .map(|row| row.code)
            .find(|code| code.as_u16() == number)
    }

    /// The code with this number, or for an unknown number one that asks for the same reaction.
    ///
    /// A later version may answer with codes that this one does not know; their class still says what to do.
    pub fn nearest(number: u16) -> Self {
        Self::from_u16(number).unwrap_or(match number / 1_000 {
            1 => Self::NotSupported,
            2 => Self::Busy,
            _ => Self::Internal,
        })
    }

    /// Who has to act; `None` for success.
    pub const fn class(self) -> Option<Class> {
        match self.as_u16() / 1_000 {
            0 => None,
            1 => Some(Class::Client),
            2 => Some(Class::Retry),
            _ => Some(Class::Fatal),
        }
    }

    /// Whether the same request may succeed later or elsewhere.
    pub fn is_retry(self) -> bool {
        self.class() == Some(Class::Retry)
    }

    /// The name in logs, command-line output and documents, in snake case.
    pub fn name(self) -> &'static str {
        self.row().map_or("unnamed", |row| row.name)
    }

    /// What to do about it, in one sentence.
    pub fn hint(self) -> &'static str {
        self.row().map_or("", |row| row.hint)
    }

    /// Every code, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.code)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.code == self)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.as_u16())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client",
            Self::Retry => "retry",
            Self::Fatal => "fatal",
        })
    }
}

struct Row {
    code: ErrorCode,
    name: &'static str,
    hint: &'static str,
}

const fn row(code: ErrorCode, name: &'static str, hint: &'static str) -> Row {
    Row { code, name, hint }
}

const TABLE: &[Row] = &[
    row(ErrorCode::Ok, "ok", "Go on."),
    row(
        ErrorCode::Malformed,
        "malformed",
        "Correct the client: its bytes do not follow the protocol.",
    ),
    row(
        ErrorCode::UnknownKind,
        "unknown_kind",
        "Send only kinds of the version that HELLO agreed on.",
    ),
    row(
        ErrorCode::UnsupportedVersion,
        "unsupported_version",
        "Use a client and a broker that share a version of the protocol.",
    ),
    row(
        ErrorCode::HelloRequired,
        "hello_required",
        "Send HELLO first on every connection.",
    ),
    row(
        ErrorCode::HelloRepeated,
        "hello_repeated",
        "Send HELLO once; open a new connection for a new session.",
    ),
    row(
        ErrorCode::BadChecksum,
        "bad_checksum",
        "Reconnect and send again; if it recurs, look at the network or the client's encoder.",
    ),
    row(
        ErrorCode::FrameTooLarge,
        "frame_too_large",
        "Split the batch; before HELLO is answered send at most 8,192 bytes a frame.",
    ),
    row(
        ErrorCode::BadMagic,
        "bad_magic",
        "Check the port: this one speaks the Corelane protocol without TLS and without HTTP.",
    ),
    row(
        ErrorCode::ReservedNotZero,
        "reserved_not_zero",
        "Set reserved fields to 0.",
    ),
    row(
        ErrorCode::InvalidName,
        "invalid_name",
        "Use 1 to 128 characters of A-Z a-z 0-9 . _ -",
    ),
    row(
        ErrorCode::OutOfRange,
        "out_of_range",
        "Stay within the range that the text names.",
    ),
    row(
        ErrorCode::NotSupported,
        "not_supported",
        "Leave out what the text names, or use a later version of the broker.",
    ),
    row(
        ErrorCode::CorrelationInUse,
        "correlation_in_use",
        "Use another correlation until the earlier request is answered.",
    ),
    row(
        ErrorCode::MessageTooLarge,
        "message_too_large",
        "Make the message smaller than 1 MiB, or split the batch.",
    ),
    row(
        ErrorCode::BadMessageChecksum,
        "bad_message_checksum",
        "Send again from the source of the message; if it recurs, look at memory and encoder.",
    ),
    row(
        ErrorCode::QueueNotFound,
        "queue_not_found",
        "Create the queue, or enqueue to it, which makes it.",
    ),
    row(
        ErrorCode::QueueExists,
        "queue_exists",
        "Use the queue as it is, or delete it first.",
    ),
    row(
        ErrorCode::UnknownConsumer,
        "unknown_consumer",
        "Subscribe first, on the same connection.",
    ),
    row(
        ErrorCode::ConsumerExists,
        "consumer_exists",
        "Choose another number, or unsubscribe the earlier consumer.",
    ),
    row(
        ErrorCode::StaleLease,
        "stale_lease",
        "Drop the messages: they were given, or will be given, to a consumer again.",
    ),
    row(
        ErrorCode::SubscriptionNotFound,
        "subscription_not_found",
        "Consume from the subscription once, which makes it.",
    ),
    row(
        ErrorCode::SubscriptionExists,
        "subscription_exists",
        "Use the subscription as it is, or configure it.",
    ),
    row(
        ErrorCode::OffsetNotKept,
        "offset_not_kept",
        "Choose an offset between the two that the text names.",
    ),
    row(
        ErrorCode::UnknownProducer,
        "unknown_producer",
        "Count what is outstanding as unknown; with nothing outstanding draw a new producer id.",
    ),
    row(
        ErrorCode::OutOfSequence,
        "out_of_sequence",
        "Send the missing batches first; after a change of epoch draw a new producer id.",
    ),
    row(
        ErrorCode::ClassNotAvailable,
        "class_not_available",
        "Enqueue with the class that the queue offers.",
    ),
    row(
        ErrorCode::TenantUnknown,
        "tenant_unknown",
        "Use an existing tenant; default always exists.",
    ),
    row(
        ErrorCode::Unauthenticated,
        "unauthenticated",
        "Get a valid token and reconnect.",
    ),
    row(
        ErrorCode::LimitExceeded,
        "limit_exceeded",
        "Use less of what the text names, or raise the limit.",
    ),
    row(
        ErrorCode::Busy,
        "busy",
        "Wait and retry with growing pauses.",
    ),
    row(
        ErrorCode::DiskFull,
        "disk_full",
        "Free space on the disk of the data directory, then retry.",
    ),
    row(
        ErrorCode::NotOwner,
        "not_owner",
        "Ask for the metadata again and send to the owner.",
    ),
    row(
        ErrorCode::Starting,
        "starting",
        "Retry after a short pause.",
    ),
    row(
        ErrorCode::ShuttingDown,
        "shutting_down",
        "Reconnect, with growing pauses, and retry.",
    ),
    row(
        ErrorCode::StaleEpoch,
        "stale_epoch",
        "Ask for the metadata again and retry.",
    ),
    row(
        ErrorCode::QueueFull,
        "queue_full",
        "Retry after a pause: consume what waits, or raise the queue's bounds.",
    ),
    row(
        ErrorCode::Poisoned,
        "poisoned",
        "Look at the broker's log and the disk, then restart the broker; outstanding enqueues are unknown.",
    ),
    row(
        ErrorCode::Damaged,
        "damaged",
        "Look at the broker's log and follow the guide for damaged partitions.",
    ),
    row(
        ErrorCode::Internal,
        "internal",
        "Report it, with the broker's log.",
    ),
];

#[cfg(test)]
mod tests;
