//! Dead messages on their way to a dead-letter queue.
//!
//! Whoever brings them there says so before, by a record, and afterwards: so the messages of one letter arrive once,
//! whatever is repeated. Meanwhile they count as dead, but nobody can redrive or purge them.

use corelane_wire::{Epoch, Lsn, Offset, OffsetRange};

use super::aside::SetAside;
use super::{Effects, Misfit, NO_QUEUE, NO_SUBSCRIPTION, State, SubscriptionKey};

/// Messages that died together, under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Letter {
    /// The epoch of the record that says so.
    pub(crate) epoch: Epoch,
    /// Its number; both name the letter for ever.
    pub(crate) lsn: Lsn,
    /// The queue that they go to.
    pub(crate) to: Box<str>,
    /// The first message.
    pub(crate) first: Offset,
    /// How many, and how they died.
    pub(crate) row: SetAside,
}

impl Letter {
    /// The end of its messages, exclusive.
    pub(crate) const fn end(&self) -> Offset {
        Offset(self.first.0 + self.row.count)
    }
}

impl State {
    pub(super) fn apply_dead_letters(
        &mut self,
        key: SubscriptionKey,
        to: Option<&str>,
    ) -> Result<(), Misfit> {
        self.subscription_mut(key)?.dead_letters = to.map(Into::into);
        Ok(())
    }

    /// The record that is applied names the letter.
    pub(super) fn apply_forward(
        &mut self,
        key: SubscriptionKey,
        range: OffsetRange,
    ) -> Result<(), Misfit> {
        let (epoch, lsn) = (self.epoch, self.end);
        let subscription = self.subscription_mut(key)?;
        let to = subscription.dead_letters.clone();
        let to = to.ok_or("dead messages stay where they are")?;
        if subscription.letter.is_some() {
            return Err("other dead messages are under way");
        }
        let row = subscription.dead.take(range.first, range.count.into());
        subscription.letter = Some(Letter {
            epoch,
            lsn,
            to,
            first: range.first,
            row: row.ok_or("a message is not dead")?,
        });
        Ok(())
    }

    pub(super) fn apply_forwarded(
        &mut self,
        key: SubscriptionKey,
        arrived: bool,
        effects: &mut Effects,
    ) -> Result<(), Misfit> {
        let subscription = self.subscription_mut(key)?;
        let letter = subscription.letter.take();
        let letter = letter.ok_or("no dead messages are under way")?;
        let (first, end) = (letter.first, letter.end());
        if !arrived {
            subscription.dead.put(first, letter.row);
            return Ok(());
        }
        let count = letter.row.count;
        let queue = self.queues.get_mut(key.0).ok_or(NO_QUEUE)?;
        let subscription = queue.subscription_mut(key.1).ok_or(NO_SUBSCRIPTION)?;
        subscription.forwarded(first, end);
        subscription.assert_counts();
        queue.done_in(key.1, first, end);
        self.counts.dead -= count;
        self.counts.acked += count;
        self.counts.messages -= queue.advance_start();
        // It may not be too scattered for new messages any more.
        effects.ready.push(key);
        Ok(())
    }
}
