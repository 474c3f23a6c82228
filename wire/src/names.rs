//! Which names queues, subscriptions and tenants may have.
//!
//! The alphabet is small on purpose: a name can stand in a path, a metric label and a log line as it is.

use std::fmt;

use crate::limits::NAME_BYTES_MAX;

/// The tenant that exists from the start.
pub const DEFAULT_TENANT: &str = "default";
/// The subscription that a consumer gets which names none.
pub const DEFAULT_SUBSCRIPTION: &str = "default";
/// How the name of an ephemeral subscription ends.
pub const EPHEMERAL_SUFFIX: &str = "#ephemeral";

/// Why a name is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no bytes.
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A byte is not one of `A-Z a-z 0-9 . _ -`.
    BadByte {
        /// Where it stands, from 0.
        index: usize,
        /// What it is.
        byte: u8,
    },
}

/// Accepts 1 to 128 bytes of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
/// The first reason to refuse the name.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    match name
        .bytes()
        .enumerate()
        .find(|(_, byte)| !is_allowed(*byte))
    {
        Some((index, byte)) => Err(NameError::BadByte { index, byte }),
        None => Ok(()),
    }
}

/// Accepts what [`check_name`] does, and the same with [`EPHEMERAL_SUFFIX`] behind it: 128 bytes together.
///
/// # Errors
/// The first reason to refuse the name.
pub fn check_subscription_name(name: &str) -> Result<(), NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    check_name(name.strip_suffix(EPHEMERAL_SUFFIX).unwrap_or(name))
}

/// Whether a subscription of this name is ephemeral: it vanishes with its last consumer, and nothing of it is durable.
pub fn is_ephemeral(name: &str) -> bool {
    name.ends_with(EPHEMERAL_SUFFIX)
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(formatter, "is empty"),
            Self::TooLong { bytes } => {
                write!(
                    formatter,
                    "has {bytes} bytes, at most {NAME_BYTES_MAX} are allowed"
                )
            }
            Self::BadByte { index, byte } => write!(
                formatter,
                "has byte 0x{byte:02x} at {index}, allowed are A-Z a-z 0-9 . _ -"
            ),
        }
    }
}

impl std::error::Error for NameError {}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests;
