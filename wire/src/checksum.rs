//! The one checksum of every format: CRC-32/ISO-HDLC (polynomial 0x04C11DB7 reflected, as in zlib and Ethernet).
//!
//! Owns the choice of the algorithm: nobody else names the crate behind it.

/// The checksum of the concatenation of `parts`.
pub fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests;
