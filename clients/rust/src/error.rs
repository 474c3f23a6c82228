//! What can go wrong, and what to do about it.
//!
//! Owns the error type of the tokio face; the sans-I/O core has its own, smaller ones.

use std::fmt;
use std::time::Duration;

use corelane_wire::{BatchError, ErrorCode, FrameError, MessageError, NameError, Offset};

use crate::protocol::ProtocolError;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The broker said no.
    Refused {
        /// Why, as a stable number.
        code: ErrorCode,
        /// Why, in words, with the values.
        text: String,
    },
    /// The call did not end within its time.
    Deadline {
        /// How long it was allowed to take.
        after: Duration,
        /// What stood in the way last, if anything is known.
        last: Option<String>,
    },
    /// No broker answered at the address.
    Unreachable {
        /// The address.
        address: String,
        /// What the last attempt met.
        reason: String,
    },
    /// The address is not "host:port"; nothing was tried.
    Address {
        /// The address.
        address: String,
    },
    /// The broker broke the protocol, or refused the greeting.
    Protocol(ProtocolError),
    /// No broker would take the message; nothing was sent.
    Message(BatchError),
    /// The name of a queue or subscription; nothing was sent.
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// A number is outside its range; nothing was sent.
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// Too much is in flight; nothing was taken.
    Full,
    /// The message did not leave in time, so that it surely was not enqueued.
    NotSent,
    /// The lease is not held any more: the message was or will be delivered again.
    StaleLease {
        /// The message.
        offset: Offset,
    },
    /// A message came that cannot be read; it was given back and counts as an attempt.
    Unreadable {
        /// The message.
        offset: Offset,
        /// What is wrong with it; `None` if it stood behind another such message.
        error: Option<MessageError>,
    },
    /// The client, producer or consumer is closed.
    Closed,
}

impl Error {
    /// What to do about it, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => code.hint(),
            Self::Address { .. } => "Write host and port, for instance 127.0.0.1:7400.",
            Self::Protocol(error) => hint_of(error),
            Self::Deadline { .. } => {
                "Look whether the broker runs and is reachable; then try again or allow more time."
            }
            Self::Unreachable { .. } => {
                "Start the broker, or check address, port, what lies between, and its `connections_max`."
            }
            Self::Message(error) => error.code().hint(),
            Self::Name { .. } => ErrorCode::InvalidName.hint(),
            Self::OutOfRange { .. } => ErrorCode::OutOfRange.hint(),
            Self::Full => "Await receipts, or use `send`, which waits for room.",
            Self::NotSent => "Send it again: it was not enqueued.",
            Self::StaleLease { .. } => ErrorCode::StaleLease.hint(),
            Self::Unreadable { .. } => {
                "Look at the message with a newer client, or at the broker's disk."
            }
            Self::Closed => "Make a new one.",
        }
    }

    /// The broker's code, if the broker refused.
    pub const fn code(&self) -> Option<ErrorCode> {
        if let Self::Refused { code, .. }
        | Self::Protocol(
            ProtocolError::Refused { code, .. } | ProtocolError::Fault { code, .. },
        ) = self
        {
            Some(*code)
        } else {
            None
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retry(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retry(),
            Self::Protocol(error) => is_retry(error),
            Self::Deadline { .. } | Self::Unreachable { .. } | Self::Full | Self::NotSent => true,
            Self::Address { .. }
            | Self::Message(_)
            | Self::Name { .. }
            | Self::OutOfRange { .. }
            | Self::StaleLease { .. }
            | Self::Unreadable { .. }
            | Self::Closed => false,
        }
    }

    /// Whether connecting again cannot help: the broker answered, and refused who we are or what we speak; or what
    /// answers there is no broker.
    pub(crate) fn is_final(&self) -> bool {
        let is_stranger = matches!(
            self,
            Self::Protocol(ProtocolError::Frame(FrameError::BadMagic { .. }))
        );
        is_stranger || self.code().is_some_and(|code| !code.is_retry())
    }

    /// Of an answer of another kind than was asked for. The connection checks kinds, so that this stands only for a
    /// mistake of ours.
    pub(crate) const fn unexpected() -> Self {
        Self::Protocol(ProtocolError::Contradiction {
            what: "an answer of another call, kind",
            expected: 0,
            found: 0,
        })
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, text } => {
                write!(formatter, "the broker refused: {}: {text}", code.name())
            }
            Self::Deadline { after, last: None } => write!(formatter, "not done within {after:?}"),
            Self::Deadline {
                after,
                last: Some(last),
            } => write!(formatter, "not done within {after:?}; last: {last}"),
            Self::Unreachable { address, reason } => {
                write!(formatter, "no broker answers at {address}: {reason}")
            }
            Self::Address { address } => {
                write!(formatter, "address \"{address}\" is not host:port")
            }
            Self::Protocol(error) => write!(formatter, "{error}"),
            Self::Message(error) => write!(formatter, "{error}"),
            Self::Name { name, error } => write!(formatter, "name \"{name}\" {error}"),
            Self::OutOfRange {
                what,
                value,
                min,
                max,
            } => write!(formatter, "{what} is {value}, allowed are {min} to {max}"),
            Self::Full => write!(formatter, "too many messages are in flight"),
            Self::NotSent => write!(formatter, "the message did not leave in time"),
            Self::StaleLease { offset } => {
                write!(
                    formatter,
                    "the lease on message {offset} is not held any more"
                )
            }
            Self::Unreadable {
                offset,
                error: Some(error),
            } => write!(formatter, "message {offset} cannot be read: {error}"),
            Self::Unreadable {
                offset,
                error: None,
            } => write!(
                formatter,
                "message {offset} cannot be read: it stands behind one with a wrong length"
            ),
            Self::Closed => write!(formatter, "closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::Message(error) => Some(error),
            Self::Name { error, .. } => Some(error),
            Self::Unreadable {
                error: Some(error), ..
            } => Some(error),
            Self::Unreadable { error: None, .. }
            | Self::Refused { .. }
            | Self::Deadline { .. }
            | Self::Unreachable { .. }
            | Self::Address { .. }
            | Self::OutOfRange { .. }
            | Self::Full
            | Self::NotSent
            | Self::StaleLease { .. }
            | Self::Closed => None,
        }
    }
}

/// What to do about a connection that cannot go on.
fn hint_of(error: &ProtocolError) -> &'static str {
    match error {
        ProtocolError::Refused { code, .. } | ProtocolError::Fault { code, .. } => code.hint(),
        ProtocolError::GreetingTimeout
        | ProtocolError::Silent { .. }
        | ProtocolError::Closed { .. } => {
            "Look whether the broker runs and is reachable, and at its log."
        }
        ProtocolError::Frame(_)
        | ProtocolError::Response(_)
        | ProtocolError::UnexpectedAnswer { .. }
        | ProtocolError::WrongAnswer { .. }
        | ProtocolError::Contradiction { .. } => {
            "Check that address and port are those of a Corelane broker of this version."
        }
    }
}

/// Whether another connection may do better.
fn is_retry(error: &ProtocolError) -> bool {
    match error {
        ProtocolError::Refused { code, .. } | ProtocolError::Fault { code, .. } => code.is_retry(),
        ProtocolError::GreetingTimeout
        | ProtocolError::Silent { .. }
        | ProtocolError::Closed { .. } => true,
        ProtocolError::Frame(_)
        | ProtocolError::Response(_)
        | ProtocolError::UnexpectedAnswer { .. }
        | ProtocolError::WrongAnswer { .. }
        | ProtocolError::Contradiction { .. } => false,
    }
}
