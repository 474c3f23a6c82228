//! Why a frame is not an answer that this version understands.

use std::fmt;

use crate::codec::CodecError;

/// Why a frame is not an answer that this version understands; the client closes the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResponseError {
    /// The kind is none of an answer's.
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// A field does not fit, or bytes are left over.
    Codec(CodecError),
    /// The code does not go with the kind: only refusals and faults have one.
    UnexpectedCode {
        /// The code found.
        code: u16,
    },
    /// A number has no meaning.
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// A reserved field is not 0.
    ReservedNotZero,
    /// The bytes of messages do not go with the kind, or with the counts of the runs.
    WrongMessages {
        /// How many bytes of messages the frame has.
        bytes: usize,
    },
}

impl From<CodecError> for ResponseError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { kind } => write!(formatter, "kind 0x{kind:02x} is not an answer"),
            Self::Codec(error) => write!(formatter, "answer: {error}"),
            Self::UnexpectedCode { code } => {
                write!(
                    formatter,
                    "code {code} does not go with the kind of the answer"
                )
            }
            Self::OutOfRange { what, value } => write!(formatter, "{what} is {value}"),
            Self::ReservedNotZero => write!(formatter, "reserved fields of the answer are not 0"),
            Self::WrongMessages { bytes } => {
                write!(
                    formatter,
                    "{bytes} bytes of messages do not go with the answer"
                )
            }
        }
    }
}

impl std::error::Error for ResponseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Codec(error) => Some(error),
            Self::UnknownKind { .. }
            | Self::UnexpectedCode { .. }
            | Self::OutOfRange { .. }
            | Self::ReservedNotZero
            | Self::WrongMessages { .. } => None,
        }
    }
}
