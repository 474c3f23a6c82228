//! Latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A histogram of durations from 1 ns to 100 s, with three digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

const NANOSECONDS_MAX: u64 = 100_000_000_000;

impl Default for Latencies {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3).expect("the bounds are in order");
        Self { histogram }
    }
}

impl Latencies {
    /// Records one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Saturating: a value beyond the range counts as the greatest.
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// Records `count` equal durations, in nanoseconds.
    pub fn record_ns(&mut self, nanoseconds: u64, count: u64) {
        self.histogram
            .saturating_record_n(nanoseconds.max(1), count);
    }

    /// The greatest value; zero if empty.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.histogram.max())
    }

    /// Takes over another histogram's values.
    pub fn add(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("both histograms have the same bounds");
    }

    /// The duration that the fraction `quantile` of all values does not exceed; zero if empty.
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.histogram.value_at_quantile(quantile))
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

#[cfg(test)]
mod tests;
