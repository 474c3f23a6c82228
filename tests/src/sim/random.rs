//! Seeded randomness: one independent stream per concern, so that adding a draw to one concern does not
//! reshuffle the decisions of the others.

/// What a stream of random numbers decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The probabilities of the faults of a seed, and its shape.
    Swarm,
    /// When things happen: turns, latencies.
    Schedule,
    /// Sectors, errors and latencies of the disk.
    Disk,
    /// Chunks, delays and drops of the network.
    Network,
    /// Crashes, restarts and clock jumps.
    Nemesis,
    /// What one client does.
    Client(u32),
}

impl Concern {
    fn number(self) -> u64 {
        match self {
            Self::Swarm => 1,
            Self::Schedule => 2,
            Self::Disk => 3,
            Self::Network => 4,
            Self::Nemesis => 5,
            Self::Client(index) => 1_000 + u64::from(index),
        }
    }
}

/// A probability in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ppm(pub u32);

/// xoshiro256++ seeded by splitmix64 (Blackman and Vigna, 2019).
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `concern` under `seed`.
    pub fn stream(seed: u64, concern: Concern) -> Self {
        let mut mixer = seed ^ concern.number().wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mut state = [0; 4];
        for word in &mut state {
            *word = splitmix(&mut mixer);
        }
        Self { state }
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index into something of `count` items.
    pub fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: Ppm) -> bool {
        p.0 > 0 && self.below(1_000_000) < u64::from(p.0)
    }

    /// True once in `n` draws on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// A number in `low..=high` where small ones are as frequent as large ones, octave by octave.
    pub fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let octaves = u64::from((high / low.max(1)).max(1).ilog2());
        let octave = self.below(octaves + 1);
        let top = low.max(1).saturating_mul(2 << octave).min(high);
        self.between(low, top.max(low))
    }
}

/// One step of splitmix64.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
