//! What a producer does with refusals: going back, numbering anew, giving up.
//!
//! Owns the decisions that keep N1 to N3 of the parent module; their reasons stand at each.

use corelane_wire::{Class, Epoch, ErrorCode, Receipt, Sequence, Timestamp};

use super::ProducerCore;
use super::config::{Resolution, UnknownReason};

impl ProducerCore {
    pub(super) fn on_receipt(
        &mut self,
        now: Timestamp,
        index: usize,
        epoch: Epoch,
        receipt: &Receipt,
    ) {
        if receipt.range.count != self.batches[index].count {
            self.abandon(index, UnknownReason::Contradiction);
            return;
        }
        self.backoff.reset();
        let is_resting = self.pause_until.is_some_and(|until| until > now);
        if let Some(rest) = self.pace.on_receipt(receipt.slow_down, is_resting) {
            self.pause_until = Some(now.add(rest));
        }
        let receipt = *receipt;
        self.resolve(index, Resolution::Confirmed { receipt, epoch });
    }

    pub(super) fn on_refusal(&mut self, now: Timestamp, index: usize, code: ErrorCode, text: &str) {
        self.last_refusal = Some((code, text.to_owned()));
        let is_first = index == 0 && self.renumber_from.is_none();
        let is_order = matches!(code, ErrorCode::OutOfSequence | ErrorCode::UnknownProducer);
        if is_order && !is_first {
            // Behind a batch that was refused, or whose answer is still to come, this only says: go back.
            self.rewinding = true;
        } else if is_order {
            // Missing are confirmed batches (a lost epoch with class memory): none from here on can have been
            // taken under this producer id, nor will be. But if the broker forgot the producer altogether, a copy
            // that is uncertain may have been taken before that.
            self.abandoned |= code == ErrorCode::UnknownProducer;
            self.renumber_fresh(now, index);
        } else if code.is_retry() {
            self.retry_later(now, code);
        } else if code.class() == Some(Class::Client) && !self.batches[index].is_uncertain {
            self.refuse(index, code, text);
        } else {
            // After an uncertain copy the refusal says nothing about that copy, and a fatal one nothing at all.
            let text = text.to_owned();
            self.abandon(index, UnknownReason::Refused { code, text });
        }
    }

    fn retry_later(&mut self, now: Timestamp, code: ErrorCode) {
        self.rewinding = true;
        if matches!(code, ErrorCode::NotOwner | ErrorCode::StaleEpoch) {
            self.reroute = true;
        }
        self.pause(now);
    }

    /// Rests before the next sending; one pause for all that are refused together.
    fn pause(&mut self, now: Timestamp) {
        if self.pause_until.is_none() {
            self.pause_until = Some(now.add(self.backoff.pause()));
        }
    }

    /// The batch was not taken and its number not used: those behind it move up.
    fn refuse(&mut self, index: usize, code: ErrorCode, text: &str) {
        if let Some(number) = self.batches[index].number {
            self.start_renumbering(number);
        }
        let text = text.to_owned();
        self.resolve(index, Resolution::Refused { code, text });
    }

    /// Goes on under a new producer id, after a pause: a broker that keeps saying so must not be asked in a loop.
    fn renumber_fresh(&mut self, now: Timestamp, index: usize) {
        if let Some(number) = self.batches[index].number {
            self.start_renumbering(number);
            self.fresh_needed = true;
        }
        self.pause(now);
    }

    fn start_renumbering(&mut self, number: Sequence) {
        self.rewinding = true;
        self.renumber_from = Some(self.renumber_from.map_or(number, |from| from.min(number)));
    }

    /// Ends a rewind once nothing is out.
    pub(super) fn end_rewind(&mut self) {
        if !self.rewinding || self.out > 0 {
            return;
        }
        self.rewinding = false;
        let Some(from) = self.renumber_from.take() else {
            return;
        };
        if self.abandoned {
            self.abandon_uncertain(from);
        }
        for batch in &mut self.batches {
            if batch.is_numbered_from(from) {
                // A copy under the old number may still arrive somewhere, so that the number must not be used
                // for another batch (N1).
                self.fresh_needed |= batch.is_uncertain;
                batch.unassign();
            }
        }
        if !self.fresh_needed {
            self.sequence_next = from;
        }
    }

    fn abandon_uncertain(&mut self, from: Sequence) {
        while let Some(index) = self
            .batches
            .iter()
            .position(|batch| batch.is_uncertain && batch.is_numbered_from(from))
        {
            self.abandon(index, UnknownReason::ProducerForgotten);
        }
    }

    pub(super) fn give_up_first(&mut self) {
        let after = self.config.give_up_after;
        if !self.is_surely_not_taken(0) {
            self.abandon(0, UnknownReason::GaveUp { after });
            return;
        }
        if let Some(number) = self.batches[0].number {
            self.start_renumbering(number);
        }
        let resolution = match self.last_refusal.clone() {
            Some((code, text)) if self.batches[0].was_sent => Resolution::Refused { code, text },
            _ => Resolution::NotSent,
        };
        self.resolve(0, resolution);
        self.end_rewind();
    }

    pub(super) fn is_surely_not_taken(&self, index: usize) -> bool {
        let batch = &self.batches[index];
        !batch.is_out() && !batch.is_uncertain
    }

    /// Settles a batch whose fate is unknown; those behind it keep their numbers, as it may have been taken.
    pub(super) fn abandon(&mut self, index: usize, reason: UnknownReason) {
        self.set_here(index);
        self.abandoned = true;
        self.resolve(index, Resolution::Unknown(reason));
        self.end_rewind();
    }
}
