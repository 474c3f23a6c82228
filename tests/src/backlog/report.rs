//! What a run comes to.

use std::fmt;
use std::time::Duration;

/// Bytes of a MiB.
const MEBIBYTE: f64 = 1_048_576.0;

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages that were enqueued and confirmed.
    pub messages: u64,
    /// How many a second.
    pub filled_per_s: f64,
    /// How the page cache was emptied.
    pub cooled_by: &'static str,
    /// From the start of the process to its line that it serves.
    pub serving: Duration,
    /// From the start of the process to the first message.
    pub first_answer: Duration,
    /// What the broker said of its recovery.
    pub recovered: String,
    /// The most memory that the broker had resident, before the kill and after it.
    pub resident_bytes: [u64; 2],
    /// Messages taken and acked a second.
    pub drain_per_s: f64,
    /// The same of a small backlog.
    pub small_drain_per_s: f64,
    /// The most that the data directory took from the disk.
    pub disk_bytes: u64,
    /// Bodies of the messages that were not acked at the kill.
    pub live_bytes: u64,
    /// Confirmed, not acked and never delivered.
    pub lost: u64,
    /// Deliveries with other bytes than were enqueued.
    pub wrong: u64,
    /// Deliveries after the first.
    pub duplicates: u64,
    /// Deliveries after the ack was confirmed.
    pub resurrected: u64,
}

impl Report {
    /// Whether the broker kept its promises.
    pub const fn is_good(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.resurrected == 0
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.resident_bytes.map(|bytes| bytes as f64 / MEBIBYTE);
        writeln!(out, "filled at {:.0} messages/s", self.filled_per_s)?;
        writeln!(out, "page cache emptied by {}", self.cooled_by)?;
        writeln!(out, "{}", self.recovered)?;
        writeln!(out, "served after {:.1} ms", millis(self.serving))?;
        writeln!(
            out,
            "resident at most: {before:.1} MiB before the kill, {after:.1} MiB after it"
        )?;
        writeln!(
            out,
            "small backlog drained at {:.0} messages/s",
            self.small_drain_per_s
        )?;
        let (disk, live) = (self.disk_bytes as f64, self.live_bytes as f64);
        writeln!(
            out,
            "disk at its fullest {:.1} MiB, live bodies {:.1} MiB",
            disk / MEBIBYTE,
            live / MEBIBYTE
        )?;
        writeln!(
            out,
            "wrong {}, duplicates {}, came after their ack {}",
            self.wrong, self.duplicates, self.resurrected
        )?;
        write!(
            out,
            "backlog: messages {} first_answer_ms {:.1} rss_mib {:.1} drain_per_s {:.0} drain_ratio {:.2} \
             disk_ratio {:.2} lost {}",
            self.messages,
            millis(self.first_answer),
            before.max(after),
            self.drain_per_s,
            self.drain_per_s / self.small_drain_per_s,
            disk / live.max(1.0),
            self.lost
        )
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
