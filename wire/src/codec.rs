//! Little-endian reading with bounds checks, and writing into a growing buffer.
//!
//! Owns the primitive encodings; the formats built from them are in the modules of their nouns.

use std::fmt;

/// A cursor over borrowed bytes; every read is bounds-checked and moves on.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Why bytes could not be read as the expected fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// Fewer bytes are left than the field needs.
    Truncated {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A string is not UTF-8.
    NotUtf8,
    /// Bytes are left after the last field.
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// A yes/no byte is neither 0 nor 1.
    NotBoolean {
        /// The byte found.
        value: u8,
    },
}

#[expect(
    clippy::missing_errors_doc,
    reason = "every read fails alike: too few bytes, or bytes that are not of the type"
)]
impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next sixteen bytes.
    pub fn u128(&mut self) -> Result<u128, CodecError> {
        self.array().map(u128::from_le_bytes)
    }

    /// The next byte as yes (1) or no (0).
    pub fn bool(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(CodecError::NotBoolean { value }),
        }
    }

    /// The next `count` bytes, borrowed.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.truncated(count));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A `u16` length and as many bytes, borrowed.
    pub fn bytes16(&mut self) -> Result<&'a [u8], CodecError> {
        let count = usize::from(self.u16()?);
        self.bytes(count)
    }

    /// A `u16` length and as many bytes of UTF-8, borrowed.
    pub fn str16(&mut self) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes16()?).map_err(|_| CodecError::NotUtf8)
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// All bytes that are left, without moving on.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails unless everything was read.
    pub const fn finish(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CodecError::TrailingBytes {
                left: self.rest.len(),
            })
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*taken)
    }

    const fn truncated(&self, needed: usize) -> CodecError {
        CodecError::Truncated {
            needed,
            left: self.rest.len(),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => {
                write!(formatter, "a field needs {needed} bytes, {left} are left")
            }
            Self::NotUtf8 => write!(formatter, "a string is not utf-8"),
            Self::TrailingBytes { left } => {
                write!(formatter, "{left} bytes are left after the last field")
            }
            Self::NotBoolean { value } => {
                write!(formatter, "a yes/no byte is {value}, not 0 or 1")
            }
        }
    }
}

impl std::error::Error for CodecError {}

/// Appends one byte.
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Appends two bytes, little-endian.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends four bytes, little-endian.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends eight bytes, little-endian.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends sixteen bytes, little-endian.
pub fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends 1 for yes or 0 for no.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends a `u16` length and the bytes.
///
/// # Panics
/// If there are more than 65,535 bytes: the limits of every caller are below that.
pub fn put_bytes16(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("fields with a u16 length have lower limits");
    put_u16(out, length);
    out.extend_from_slice(bytes);
}

/// Appends a `u16` length and the bytes of the text.
///
/// # Panics
/// If there are more than 65,535 bytes: the limits of every caller are below that.
pub fn put_str16(out: &mut Vec<u8>, text: &str) {
    put_bytes16(out, text.as_bytes());
}

/// Overwrites four bytes that the caller has written before, at `at`.
pub(crate) fn patch_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes
        .get_mut(at..at + 4)
        .expect("only fields that were written are patched")
        .copy_from_slice(&value.to_le_bytes());
}

/// The length of something that a limit keeps below 4 GiB.
pub(crate) fn length_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limits.rs keeps every length below 4 GiB")
}

#[cfg(test)]
mod tests;
