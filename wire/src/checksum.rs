//! The one checksum of every format: CRC-32/ISO-HDLC (polynomial 0x04C11DB7 reflected, as in zlib and Ethernet).
//!
//! Owns the choice of the algorithm: nobody else names the crate behind it.

use std::sync::LazyLock;

/// A hasher that has seen nothing: a new one looks anew for what the processor can do, a copy does not.
static FRESH: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);

/// The checksum of the concatenation of `parts`.
pub fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = FRESH.clone();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests;
