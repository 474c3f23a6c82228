//! What was settled: an ack holds for ever, and only the lease in force can settle.

use corelane_wire::{Epoch, LeaseId, Lsn, SettleOutcome};

use super::super::history::{SubscriptionKey, Verb};
use super::super::{Verdict, violation};
use super::Checker;

impl Checker {
    pub(super) fn on_settled(
        &mut self,
        of: SubscriptionKey,
        (verb, outcome): (Verb, SettleOutcome),
        (lease, offset): (LeaseId, u64),
        end: (Epoch, Lsn),
    ) -> Verdict {
        if self.deleted.contains_key(&of.queue) {
            return Ok(());
        }
        let current = self.current_epoch(of.queue);
        let tracked = self
            .subscriptions
            .entry(of)
            .or_default()
            .entry(offset)
            .or_default();
        match outcome {
            SettleOutcome::Done => {
                // Leases that a crash may have undone do not count: the older one is then in force again.
                let newer = tracked
                    .leases
                    .iter()
                    .find(|other| **other > lease && Some(other.epoch) == current);
                // After a nack or an extend a newer lease may overtake the answer; after an ack there is none.
                if let (Verb::Ack, Some(newer)) = (verb, newer) {
                    return violation(
                        "C3",
                        format!(
                            "{verb:?} of offset {offset} of {of:?} under {lease:?} was accepted, {newer:?} is newer"
                        ),
                    );
                }
                if !tracked.leases.contains(&lease) {
                    return violation(
                        "C3",
                        format!(
                            "{verb:?} of offset {offset} of {of:?} under foreign {lease:?} was accepted"
                        ),
                    );
                }
                if tracked.returned.contains(&lease) {
                    return violation(
                        "C3",
                        format!(
                            "{verb:?} of offset {offset} of {of:?} under returned {lease:?} was accepted"
                        ),
                    );
                }
                if let Some(done) = tracked.done_under
                    && (lease > done
                        || (lease == done && matches!(verb, Verb::Nack | Verb::Reject)))
                {
                    return violation(
                        "C3",
                        format!(
                            "{verb:?} of offset {offset} of {of:?} under {lease:?} was accepted, it was acked under {done:?}"
                        ),
                    );
                }
                match verb {
                    Verb::Ack => {
                        tracked.done.get_or_insert(end);
                        tracked.done_under = Some(lease);
                    }
                    Verb::Nack | Verb::Reject => tracked.returned.push(lease),
                    Verb::Extend => {}
                }
            }
            SettleOutcome::AlreadyDone => {
                tracked.done.get_or_insert(end);
            }
            SettleOutcome::Stale => {}
        }
        Ok(())
    }
}
