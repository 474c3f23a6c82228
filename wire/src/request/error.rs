//! Why a frame is not a request that this version takes.

use std::fmt;

use crate::codec::CodecError;
use crate::error_code::ErrorCode;
use crate::names::NameError;

/// Why a frame is not a request that this version takes; the connection may go on after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The kind is none of a request's.
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// A field does not fit, or bytes are left over.
    Codec(CodecError),
    /// A name is refused.
    Name {
        /// Whose name.
        what: &'static str,
        /// Why.
        error: NameError,
    },
    /// A number is outside its range.
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// A reserved field is not 0.
    ReservedNotZero {
        /// Which field.
        what: &'static str,
    },
    /// The protocol has a place for it, but this version does not serve it.
    NotSupported {
        /// What is not served.
        what: &'static str,
        /// The value that asks for it.
        value: u64,
    },
    /// The frame has messages although its kind has none, or none although it needs them.
    WrongMessages {
        /// How many bytes of messages it has.
        bytes: usize,
    },
}

impl RequestError {
    /// The code for the answer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownKind { .. } => ErrorCode::UnknownKind,
            Self::Codec(_) | Self::WrongMessages { .. } => ErrorCode::Malformed,
            Self::Name { .. } => ErrorCode::InvalidName,
            Self::OutOfRange { .. } => ErrorCode::OutOfRange,
            Self::ReservedNotZero { .. } => ErrorCode::ReservedNotZero,
            Self::NotSupported { .. } => ErrorCode::NotSupported,
        }
    }

    /// The text for the answer.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl From<CodecError> for RequestError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { kind } => write!(formatter, "kind 0x{kind:02x} is not a request"),
            Self::Codec(error) => write!(formatter, "request: {error}"),
            Self::Name { what, error } => write!(formatter, "{what} name {error}"),
            Self::OutOfRange {
                what,
                value,
                min,
                max,
            } => write!(formatter, "{what} is {value}, {min} to {max} are allowed"),
            Self::ReservedNotZero { what } => write!(formatter, "{what} is not 0"),
            Self::NotSupported { what, value } => {
                write!(formatter, "{what} ({value}) is not supported")
            }
            Self::WrongMessages { bytes } => {
                write!(
                    formatter,
                    "{bytes} bytes of messages do not go with the kind"
                )
            }
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Codec(error) => Some(error),
            Self::Name { error, .. } => Some(error),
            Self::UnknownKind { .. }
            | Self::OutOfRange { .. }
            | Self::ReservedNotZero { .. }
            | Self::NotSupported { .. }
            | Self::WrongMessages { .. } => None,
        }
    }
}
