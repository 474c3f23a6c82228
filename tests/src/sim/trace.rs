//! The trace of a seed: a running hash of everything that happened, printed too when a seed is replayed verbosely.

use std::fmt;

use crate::sim::clock::{Moment, SECOND};
use crate::sim::disk::mix;

/// A running hash of what happened, and the switch for printing it.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    is_verbose: bool,
}

impl Trace {
    /// An empty trace.
    pub fn new(is_verbose: bool) -> Self {
        Self {
            hash: 0xCBF2_9CE4_8422_2325,
            events: 0,
            is_verbose,
        }
    }

    /// Adds numbers to the hash.
    pub fn note(&mut self, words: &[u64]) {
        self.events += 1;
        for word in words {
            self.hash = mix(self.hash, *word);
        }
    }

    /// Adds bytes to the hash.
    pub fn note_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = mix(self.hash, u64::from_le_bytes(word));
        }
    }

    /// Prints a line if the seed is replayed verbosely.
    pub fn say(&self, now: Moment, line: fmt::Arguments<'_>) {
        if self.is_verbose {
            let (seconds, nanoseconds) = (now / SECOND, now % SECOND);
            eprintln!("{seconds:>7}.{nanoseconds:09} {line}");
        }
    }

    /// Whether lines are printed.
    pub fn is_verbose(&self) -> bool {
        self.is_verbose
    }

    /// The hash so far, and how many events went into it.
    pub fn digest(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}
