//! Why a connection cannot go on.

use std::fmt;
use std::time::Duration;

use corelane_wire::{Correlation, ErrorCode, FrameError, ResponseError};

/// No request can be taken at the moment; nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the connection takes no request at the moment")
    }
}

impl std::error::Error for NoRoom {}

/// Why a connection cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes are not a frame.
    Frame(FrameError),
    /// The frame is not an answer.
    Response(ResponseError),
    /// Nobody asked.
    UnexpectedAnswer {
        /// The number that the frame answers.
        correlation: Correlation,
        /// Kind of the frame.
        kind: u8,
    },
    /// Another kind of request was asked.
    WrongAnswer {
        /// Kind of the request.
        request: u8,
        /// Kind of the frame that answers it.
        answer: u8,
    },
    /// The broker refused the greeting.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
    /// The broker closed the connection and said why.
    Fault {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        text: String,
    },
    /// The broker did not answer the greeting in time.
    GreetingTimeout,
    /// The broker gave no sign of life.
    Silent {
        /// For how long.
        silence: Duration,
    },
    /// The connection was closed.
    Closed {
        /// How many bytes of an unfinished frame had arrived.
        bytes_cut: usize,
    },
    /// An answer contradicts its request.
    Contradiction {
        /// What does not fit.
        what: &'static str,
        /// What the request implies.
        expected: u64,
        /// What the answer says.
        found: u64,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(formatter, "the broker sent no frame: {error}"),
            Self::Response(error) => write!(formatter, "the broker sent no answer: {error}"),
            Self::UnexpectedAnswer { correlation, kind } => write!(
                formatter,
                "the broker answered call {correlation} (kind 0x{kind:02x}), which is not out"
            ),
            Self::WrongAnswer { request, answer } => write!(
                formatter,
                "the broker answered request kind 0x{request:02x} with kind 0x{answer:02x}"
            ),
            Self::Refused { code, text } => {
                write!(
                    formatter,
                    "the broker refused the greeting: {}: {text}",
                    code.name()
                )
            }
            Self::Fault { code, text } => {
                write!(
                    formatter,
                    "the broker closed the connection: {}: {text}",
                    code.name()
                )
            }
            Self::GreetingTimeout => write!(formatter, "the broker did not answer the greeting"),
            Self::Silent { silence } => {
                write!(formatter, "the broker gave no sign of life for {silence:?}")
            }
            Self::Closed { bytes_cut: 0 } => write!(formatter, "the connection was closed"),
            Self::Closed { bytes_cut } => write!(
                formatter,
                "the connection was closed after {bytes_cut} bytes of a frame"
            ),
            Self::Contradiction {
                what,
                expected,
                found,
            } => write!(
                formatter,
                "the broker's answer has {what} {found}, expected {expected}"
            ),
        }
    }
}

impl std::error::Error for ProtocolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            Self::Response(error) => Some(error),
            Self::UnexpectedAnswer { .. }
            | Self::WrongAnswer { .. }
            | Self::Refused { .. }
            | Self::Fault { .. }
            | Self::GreetingTimeout
            | Self::Silent { .. }
            | Self::Closed { .. }
            | Self::Contradiction { .. } => None,
        }
    }
}
