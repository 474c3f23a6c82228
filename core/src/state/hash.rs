//! The hash that says whether two states are the same.
//!
//! Word-wise multiply and rotate with the finaliser of `MurmurHash3` (fmix64): no seed, the same on every machine,
//! good enough to tell states apart, no defence against an adversary.

use std::hash::Hasher;

/// Hashes without a seed; every integer counts as one little-endian word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateHasher(u64);

impl StateHasher {
    /// The hash of nothing so far.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(31);
    }
}

impl Hasher for StateHasher {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        let bytes = value.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        self.write(low);
        self.write(high);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}
