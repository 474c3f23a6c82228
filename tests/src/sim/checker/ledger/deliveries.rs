//! What arrived: bodies, offsets, leases, and in a quiet seed order and number.

use std::collections::BTreeSet;

use super::super::history::Delivered;
use super::super::{Verdict, violation};
use super::{Checker, LeaseSeen};

impl Checker {
    pub(super) fn on_delivered(&mut self, delivered: &Delivered) -> Verdict {
        let Delivered {
            of,
            lease,
            attempt,
            offset,
            ..
        } = *delivered;
        self.on_body(of.queue, offset, delivered.body)?;
        self.deliveries += 1;
        self.delivered.push(*delivered);
        if self.deleted.contains_key(&of.queue) {
            return Ok(());
        }
        if attempt == 0 {
            return violation("C5", format!("attempt 0 of offset {offset}, {of:?}"));
        }
        self.on_lease(delivered)?;
        let tracked = self
            .subscriptions
            .entry(of)
            .or_default()
            .entry(offset)
            .or_default();
        if let Some((epoch, end)) = tracked.done
            && (lease.epoch > epoch || (lease.epoch == epoch && lease.lsn >= end))
        {
            return violation(
                "C3",
                format!("offset {offset} of {of:?} came under {lease:?} after its ack at {end:?}"),
            );
        }
        let is_first = tracked.leases.is_empty();
        tracked.leases.push(lease);
        if !is_first {
            self.duplicates += 1;
        }
        if self.is_quiet {
            self.check_quiet(delivered, is_first)?;
        }
        Ok(())
    }

    fn check_quiet(&mut self, delivered: &Delivered, is_first: bool) -> Verdict {
        let (of, offset, lease) = (delivered.of, delivered.offset, delivered.lease);
        if !is_first {
            return violation("C12", format!("offset {offset} of {of:?} came twice"));
        }
        let newest = self.first_by_lease.entry(of).or_insert((lease, offset));
        // Links do not keep order between each other, leases do.
        if (lease > newest.0 && offset < newest.1) || (lease < newest.0 && offset > newest.1) {
            let newest = *newest;
            return violation(
                "order",
                format!("offset {offset} of {of:?} under {lease:?}, {newest:?} before"),
            );
        }
        if lease >= newest.0 {
            *newest = (lease, offset);
        }
        Ok(())
    }

    fn on_lease(&mut self, delivered: &Delivered) -> Verdict {
        let (of, by, lease, offset) = (
            delivered.of,
            delivered.by,
            delivered.lease,
            delivered.offset,
        );
        let partition = self.partitions[of.queue as usize];
        let seen = self
            .leases
            .entry((partition, lease))
            .or_insert_with(|| LeaseSeen {
                of,
                by,
                offsets: BTreeSet::new(),
            });
        if seen.of != of || seen.by != by {
            return violation(
                "C4",
                format!(
                    "{lease:?} is of {:?} {:?} and of {of:?} {by:?}",
                    seen.of, seen.by
                ),
            );
        }
        if !seen.offsets.insert(offset) {
            return violation("C4", format!("offset {offset} came twice under {lease:?}"));
        }
        Ok(())
    }
}
