//! The table of a run, and its last line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::Outcome;
use super::places::{Flip, Kind};

/// What came of all flips.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: BTreeMap<Kind, Row>,
    /// Flips that did harm, the first ones.
    harms: Vec<String>,
}

/// What came of the flips in one kind of place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) flips: u64,
    pub(super) harmless: u64,
    pub(super) detected: u64,
    pub(super) cut: u64,
    pub(super) wrong: u64,
    pub(super) undetected: u64,
    pub(super) panics: u64,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.flips += other.flips;
        self.harmless += other.harmless;
        self.detected += other.detected;
        self.cut += other.cut;
        self.wrong += other.wrong;
        self.undetected += other.undetected;
        self.panics += other.panics;
    }

    fn is_clean(&self) -> bool {
        self.wrong + self.undetected + self.panics == 0
    }
}

impl Report {
    pub(super) fn count(&mut self, seed: u64, flip: &Flip, outcome: Outcome) {
        let row = self.rows.entry(flip.kind).or_default();
        row.flips += 1;
        let text = match outcome {
            Outcome::Harmless => {
                row.harmless += 1;
                return;
            }
            Outcome::Detected => {
                row.detected += 1;
                return;
            }
            Outcome::Cut => {
                row.cut += 1;
                return;
            }
            Outcome::Wrong(text) => {
                row.wrong += 1;
                format!("wrong: {text}")
            }
            Outcome::Undetected(text) => {
                row.undetected += 1;
                format!("undetected: {text}")
            }
            Outcome::Panic(text) => {
                row.panics += 1;
                format!("panic: {text}")
            }
        };
        if self.harms.len() < HARMS_SHOWN {
            self.harms.push(format!("seed {seed} {flip:?} {text}"));
        }
    }

    /// The row of a kind of place.
    pub(super) fn row(&self, kind: Kind) -> Row {
        self.rows.get(&kind).copied().unwrap_or_default()
    }

    fn sum(&self) -> Row {
        let mut sum = Row::default();
        for row in self.rows.values() {
            sum.add(row);
        }
        sum
    }

    /// Whether there were flips, and none did harm.
    pub(super) fn is_clean(&self) -> bool {
        let sum = self.sum();
        sum.flips > 0 && sum.is_clean()
    }

    pub(super) fn print(&self, took: Duration, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<24}{:>9}{:>10}{:>10}{:>7}{:>7}{:>12}{:>8}",
            "place", "flips", "harmless", "detected", "cut", "wrong", "undetected", "panics"
        )?;
        for kind in Kind::ALL {
            let row = self.row(kind);
            writeln!(
                out,
                "{kind:<24}{:>9}{:>10}{:>10}{:>7}{:>7}{:>12}{:>8}",
                row.flips,
                row.harmless,
                row.detected,
                row.cut,
                row.wrong,
                row.undetected,
                row.panics
            )?;
        }
        for harm in &self.harms {
            writeln!(out, "{harm}")?;
        }
        let sum = self.sum();
        let milliseconds = took.as_millis().max(1);
        writeln!(
            out,
            "flips_per_second {}",
            u128::from(sum.flips) * 1_000 / milliseconds
        )?;
        writeln!(
            out,
            "bit-flips: {} flips, wrong {}, undetected {}, panics {}",
            sum.flips, sum.wrong, sum.undetected, sum.panics
        )
    }
}

/// Flips that are shown.
const HARMS_SHOWN: usize = 20;
