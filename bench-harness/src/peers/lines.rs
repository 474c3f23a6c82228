//! What the text protocols have in common: lines that end with CR LF, and bodies of a length that a line tells.

use anyhow::{Context, Result, bail};

/// Bytes that came, read from the front.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn used(&self) -> usize {
        self.at
    }

    /// The next line without its end; none if it is not whole.
    pub(super) fn line(&mut self) -> Result<Option<&'a str>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let Some(line) = rest[..end].strip_suffix(b"\r") else {
            bail!("a line that does not end with CR LF");
        };
        self.at += end + 1;
        Ok(Some(std::str::from_utf8(line)?))
    }

    /// A body of `length` bytes, and the end of line behind it.
    pub(super) fn body(&mut self, length: usize) -> Result<Option<&'a [u8]>> {
        let Some(bytes) = self.bytes.get(self.at..self.at + length + 2) else {
            return Ok(None);
        };
        let Some(body) = bytes.strip_suffix(b"\r\n") else {
            bail!("a body of {length} bytes that does not end with CR LF");
        };
        self.at += length + 2;
        Ok(Some(body))
    }
}

/// A number in a line.
pub(super) fn number<T: std::str::FromStr>(word: Option<&str>) -> Result<T> {
    let word = word.context("a line lacks a number")?;
    match word.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("{word:?} is not the number that belongs there"),
    }
}
