//! A small generator of random numbers from a seed, so that a run of the core can be repeated.
//!
//! Owns nothing but its state. The tokio face seeds it from the operating system, the simulation from its seed.
//! Source: `SplitMix64` of Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

/// Random numbers from a seed; two halves of state, so that 128-bit ids keep all the randomness of the seed.
#[derive(Clone, Debug)]
pub struct Random {
    high: u64,
    low: u64,
}

impl Random {
    /// Starts from `seed`; equal seeds give equal numbers.
    pub const fn new(seed: u128) -> Self {
        Self {
            high: truncate(seed >> 64),
            low: truncate(seed),
        }
    }

    /// The next 64 random bits.
    pub const fn u64(&mut self) -> u64 {
        split_mix(&mut self.low)
    }

    /// The next 128 random bits.
    pub const fn u128(&mut self) -> u128 {
        ((split_mix(&mut self.high) as u128) << 64) | split_mix(&mut self.low) as u128
    }

    /// A number below `bound`, or 0 when `bound` is 0. The bias of the remainder is below 2^-32 for every bound here.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.u64() % bound }
    }
}

/// The low half.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the high half is cut on purpose"
)]
const fn truncate(bits: u128) -> u64 {
    bits as u64
}

const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
