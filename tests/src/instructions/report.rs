//! Figures beside those on file, and what to think of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::baseline::Baseline;
use super::node::Placement;
use super::steps::STEPS;

/// Instructions per message by step.
pub type Figures = BTreeMap<String, f64>;

/// How far a figure may be from that on file, in either direction.
const TOLERANCE: f64 = 0.03;

/// Figures compared with the baseline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All are within the tolerance.
    Within,
    /// At least one is above it: the broker has become slower. In words, one line for each.
    Above(Vec<String>),
    /// None is above it, and at least one below or not on file: the file no longer says how fast the broker is.
    Below(Vec<String>),
}

impl Verdict {
    /// The same in a few words.
    pub fn comment(&self) -> &'static str {
        match self {
            Self::Within => "within 3 % of the baseline",
            Self::Above(_) => "more than 3 % above the baseline",
            Self::Below(_) => "more than 3 % below the baseline",
        }
    }

    /// Compares what was counted.
    pub fn of(counted: &BTreeMap<String, Figures>, baseline: &Baseline) -> Self {
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for (placement, figures) in counted {
            for (step, figure) in figures {
                let Some(before) = known(baseline, placement, step) else {
                    below.push(format!("{placement}/{step} is not in the baseline"));
                    continue;
                };
                let change = figure / before - 1.0;
                let line = format!(
                    "{placement}/{step}: {figure:.1} instructions per message, {before:.1} in the baseline ({:+.1} %)",
                    change * 100.0
                );
                if change > TOLERANCE {
                    above.push(line);
                } else if change < -TOLERANCE {
                    below.push(line);
                }
            }
        }
        if !above.is_empty() {
            Self::Above(above)
        } else if !below.is_empty() {
            Self::Below(below)
        } else {
            Self::Within
        }
    }
}

impl fmt::Display for Verdict {
    /// What to do about it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, advice) = match self {
            Self::Within => return Ok(()),
            Self::Above(lines) => (
                lines,
                "make it cheaper; or run `cargo xtask instructions --bless` and say in the commit what it is worth",
            ),
            Self::Below(lines) => (
                lines,
                "the baseline is out of date: run `cargo xtask instructions --bless` and commit it",
            ),
        };
        for line in lines {
            writeln!(formatter, "{line}")?;
        }
        writeln!(formatter, "{advice}")
    }
}

/// One row per step: the figure of each placement with its change, and what a second shard costs.
pub fn table(counted: &BTreeMap<String, Figures>, baseline: Option<&Baseline>) -> String {
    let mut text = format!("{:<16}", "per message");
    for placement in Placement::ALL {
        write!(text, "{:>22}", placement.title()).expect("a string takes all");
    }
    text += "      owner/one   hop/one\n";
    for step in STEPS {
        write!(text, "{step:<16}").expect("a string takes all");
        for placement in Placement::ALL {
            let figure = counted[placement.name()][step];
            let before = baseline.and_then(|baseline| known(baseline, placement.name(), step));
            let change = before.map_or_else(
                || "new".to_owned(),
                |before| format!("{:+.1} %", (figure / before - 1.0) * 100.0),
            );
            write!(text, "{figure:>13.1} {change:>8}").expect("a string takes all");
        }
        let one = counted[Placement::One.name()][step];
        for placement in [Placement::Owner, Placement::Hop] {
            let ratio = counted[placement.name()][step] / one;
            write!(text, "{ratio:>10.3}").expect("a string takes all");
        }
        text += "\n";
    }
    text
}

/// The result in one line, with the figures of one shard.
pub fn last_line(counted: &BTreeMap<String, Figures>, comment: &str) -> String {
    let one = &counted[Placement::One.name()];
    let figures: Vec<String> = ["enqueue", "batch_enqueue", "deliver", "ack"]
        .map(|step| format!("{step} {:.0}", one[step]))
        .to_vec();
    format!("instructions: {}, {comment}", figures.join(" "))
}

fn known(baseline: &Baseline, placement: &str, step: &str) -> Option<f64> {
    let figures = baseline.instructions_per_message.get(placement)?;
    figures.get(step).copied()
}
