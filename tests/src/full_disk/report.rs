//! What a run comes to.

use std::fmt;
use std::time::Duration;

use super::small::{Kind, Missing};

/// The figures of one disk.
#[derive(Clone, Debug)]
pub struct Report {
    /// The size of the disk.
    pub disk_bytes: u64,
    /// Messages that were confirmed until the disk was full: at first, and after it was drained.
    pub confirmed: [u64; 2],
    /// How long after the drain, without a restart, half as many as at first were confirmed; `None` if never.
    pub healed_after: Option<Duration>,
    /// Confirmed, not acked and never delivered.
    pub lost: u64,
    /// Confirmed and at the end not acked.
    pub unsettled: u64,
    /// Deliveries with other bytes than were enqueued.
    pub wrong: u64,
    /// Deliveries after the first, of messages that no consumer had before the restart.
    pub duplicates: u64,
    /// Deliveries after the ack was confirmed.
    pub resurrected: u64,
}

/// How it went on one kind of disk.
pub type Outcome = (Kind, Result<Report, Missing>);

impl Report {
    /// Whether the broker kept its promises.
    pub const fn is_good(&self) -> bool {
        let is_whole = self.lost == 0 && self.unsettled == 0 && self.wrong == 0;
        is_whole && self.duplicates == 0 && self.resurrected == 0 && self.healed_after.is_some()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, again] = self.confirmed;
        let healed = match self.healed_after {
            Some(time) => format!("{:.1} s", time.as_secs_f64()),
            None => "never".to_owned(),
        };
        write!(
            out,
            "{} MiB: confirmed {first} until full, after the drain {} in {healed}, {again} until full again; \
             not acked {}, wrong {}, duplicates {}, came after their ack {}",
            self.disk_bytes >> 20,
            first / 2,
            self.unsettled,
            self.wrong,
            self.duplicates,
            self.resurrected
        )
    }
}

/// The last line of a run.
pub fn summary(outcomes: &[Outcome]) -> String {
    let row = |(kind, outcome): &Outcome| match outcome {
        Ok(report) => format!(
            "{} confirmed {} lost {} healed {}",
            kind.name(),
            report.confirmed.iter().sum::<u64>(),
            report.lost,
            if report.healed_after.is_some() {
                "yes"
            } else {
                "no"
            }
        ),
        Err(_) => format!("{} not available", kind.name()),
    };
    let rows: Vec<String> = outcomes.iter().map(row).collect();
    format!("disk-full: {}", rows.join(", "))
}
