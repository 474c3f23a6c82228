//! Reading the closing lines of test runners, so that ours can be the last line of a run.

use std::fmt;

/// Test counts of one or several runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds another runner's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The sum of the counts of all closing lines.
    pub(crate) fn of_lines(lines: &[String]) -> Self {
        let mut sum = Self::default();
        for line in lines {
            sum.add(Self::of_line(line));
        }
        sum
    }

    /// Reads `12 passed`, `1 failed`, `2 timed out`, `3 skipped` and `3 ignored` wherever they
    /// stand in the line.
    fn of_line(line: &str) -> Self {
        let words: Vec<&str> = line
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '.'))
            .filter(|word| !word.is_empty())
            .collect();
        let mut counts = Self::default();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => counts.passed += number,
                "failed" | "timed" | "exec" => counts.failed += number,
                "skipped" | "ignored" => counts.skipped += number,
                _ => {}
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Whether this is the closing line of cargo-nextest.
pub(crate) fn closes_nextest(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") && line.contains("run: ")
}

/// Whether this is the closing line of a test binary that ran any test.
pub(crate) fn closes_cargo_test(line: &str) -> bool {
    line.starts_with("test result: ") && Counts::of_line(line) != Counts::default()
}

#[cfg(test)]
mod tests;
