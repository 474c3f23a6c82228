//! The book that one thread of the generator keeps.

use super::ledger::Ledger;
use super::payload::Stamp;
use super::plan::Plan;
use super::report::Series;
use super::sender::{Terms, Times};

/// What one thread saw; put together when the run is over.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    pub(super) series: Series,
    /// Messages confirmed, and delivered for the first time here; and all that came.
    pub(super) confirmed: u64,
    pub(super) delivered: u64,
    pub(super) arrivals: u64,
    /// Messages whose receipts came within the measured time.
    pub(super) answered: u64,
    /// Messages that came to consumers within the measured time.
    pub(super) consumed: u64,
    pub(super) censored: u64,
    pub(super) unsent: u64,
    pub(super) corrupt: u64,
    pub(super) reordered: u64,
    pub(super) stale: u64,
    /// The first refusal, in words.
    pub(super) refusal: Option<String>,
    /// Time in which there was nothing to do.
    pub(super) idle_ns: u64,
    /// Share of the time, up to the end of what is measured, in which there was something.
    pub(super) busy: f64,
}

impl Book {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            ledger: Ledger::new(plan.producers),
            series: Series::default(),
            confirmed: 0,
            delivered: 0,
            arrivals: 0,
            answered: 0,
            consumed: 0,
            censored: 0,
            unsent: 0,
            corrupt: 0,
            reordered: 0,
            stale: 0,
            refusal: None,
            idle_ns: 0,
            busy: 0.0,
        }
    }

    pub(super) fn on_confirmed(&mut self, times: &Times, now_ns: u64, terms: &Terms<'_>) {
        let count = u64::from(terms.plan.batch);
        self.confirmed += count;
        self.arrivals += count;
        if terms.is_measured(now_ns) {
            self.answered += count;
        }
        if terms.is_measured(times.intended_ns) {
            let series = &mut self.series;
            series
                .response
                .record_ns(now_ns.saturating_sub(times.intended_ns), count);
            series
                .service
                .record_ns(now_ns.saturating_sub(times.sent_ns), count);
        }
    }

    pub(super) fn on_refused(&mut self, text: String, count: u32) {
        self.arrivals += u64::from(count);
        self.refusal.get_or_insert(text);
    }

    pub(super) fn on_censored(
        &mut self,
        intended_ns: u64,
        now_ns: u64,
        count: u64,
        terms: &Terms<'_>,
    ) {
        if terms.is_measured(intended_ns) {
            self.censored += count;
            let age_ns = now_ns.saturating_sub(intended_ns);
            self.series.response.record_ns(age_ns, count);
        }
    }

    /// Something came to a consumer.
    pub(super) const fn on_arrived(&mut self) {
        self.arrivals += 1;
    }

    /// Enters a delivery; false if it came before.
    pub(super) fn on_delivered(&mut self, stamp: Stamp, now_ns: u64, terms: &Terms<'_>) -> bool {
        self.on_arrived();
        if terms.is_measured(stamp.intended_ns) {
            let age_ns = now_ns.saturating_sub(stamp.intended_ns);
            self.series.end_to_end.record_ns(age_ns, 1);
        }
        let is_first = self.ledger.deliver(stamp.producer, stamp.sequence);
        self.delivered += u64::from(is_first);
        self.consumed += u64::from(is_first && terms.is_measured(now_ns));
        is_first
    }

    /// What is measured has ended after so much time.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share is shown with three digits"
    )]
    pub(super) fn close(&mut self, took_ns: u64) {
        let busy_ns = took_ns.saturating_sub(self.idle_ns);
        self.busy = busy_ns as f64 / took_ns.max(1) as f64;
    }

    /// Takes over another thread's book.
    pub(super) fn add(&mut self, other: Self) {
        self.ledger.add(other.ledger);
        self.confirmed += other.confirmed;
        self.delivered += other.delivered;
        self.series.add(&other.series);
        self.answered += other.answered;
        self.consumed += other.consumed;
        self.censored += other.censored;
        self.unsent += other.unsent;
        self.corrupt += other.corrupt;
        self.reordered += other.reordered;
        self.stale += other.stale;
        self.refusal = self.refusal.take().or(other.refusal);
    }
}
