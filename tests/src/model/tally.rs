//! What is compared after each operation: counts, positions, and what the disk was asked for.

use super::reference::Status;
use super::reference::state::millis;
use super::side_by_side::Pair;

impl Pair {
    /// Both must stand where the other does.
    pub(super) fn compare_sums(&self) -> Result<(), String> {
        let (model, stats) = (&self.model, self.node.engine.stats());
        let mut sum = [0; 9];
        let keys = model.state.keys();
        for key in &keys {
            let detail = model.state.subscription(*key).detail();
            let of_it = [
                detail.ready,
                detail.leased,
                detail.delayed,
                detail.dead,
                detail.parked,
                detail.done,
                detail.purged,
                detail.enqueued,
            ];
            sum.iter_mut().zip(of_it).for_each(|(sum, of)| *sum += of);
        }
        let queues = model.state.queues.iter().filter(|queue| !queue.is_deleted);
        sum[8] = queues
            .map(|queue| (queue.messages.len() - queue.start) as u64)
            .sum();
        let producers = model.state.producers.len();
        let (waiters, consumers) = (model.waiters().count(), model.consumers().count());
        let of_model = (sum, keys.len(), producers, waiters, consumers);
        let sum = [
            stats.ready,
            stats.leased,
            stats.delayed,
            stats.dead,
            stats.parked,
            stats.acked,
            stats.purged,
            stats.enqueued,
            stats.messages,
        ];
        let of_engine = (
            sum,
            stats.subscriptions,
            stats.producers,
            stats.waiters,
            stats.consumers,
        );
        if of_engine != of_model {
            return Err(format!(
                "counts: ready, leased, delayed, dead, parked, acked, purged, enqueued and kept messages, subscriptions, producers, waiters and consumers differ\n  engine: {of_engine:?}\n  model: {of_model:?}"
            ));
        }
        if stats.unaccounted + stats.expired > 0 {
            return Err(format!(
                "law: {} messages are unaccounted for",
                stats.unaccounted
            ));
        }
        let positions = self.node.engine.positions();
        if (positions.committed.0, positions.end.0) != (model.committed, model.end) {
            return Err(format!(
                "positions: engine {positions:?}, model {}, {}",
                model.committed, model.end
            ));
        }
        self.compare_flushes()
    }

    /// What somebody waits for is flushed at once, and the rest soon.
    fn compare_flushes(&self) -> Result<(), String> {
        let model = &self.model;
        let is_serving = model.status == Status::Serving;
        let deadline = self.node.engine.next_deadline();
        let flush = self.node.unflushed.map(|since| since + RIDER_DELAY);
        if is_serving && flush.is_some_and(|flush| deadline.is_none_or(|at| at.0 > flush)) {
            return Err(format!(
                "flush: one is due at {flush:?}, the engine wakes at {deadline:?}"
            ));
        }
        let covered = self.node.flushed.max(model.committed);
        for taker in model.waiters() {
            let last = model.state.queues[taker.key.0].messages.last();
            if last.is_some_and(|message| message.lsn >= covered) {
                return Err(format!(
                    "flush: {taker:?} waits for messages that no flush covers"
                ));
            }
        }
        match model.gate.back().map(|(end, _)| *end) {
            Some(end) if self.node.flushed < end => Err(format!(
                "flush: an answer waits for {end}, asked for is only {}",
                self.node.flushed
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// What nobody waits for reaches the disk after this time.
const RIDER_DELAY: u64 = millis(10);
