//! Sessions that lost their last connection and still hold leases.

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::{SessionId, Timestamp};

/// Which sessions end when, in log time. There are never more than leases.
#[derive(Debug, Default)]
pub(super) struct LostSessions {
    due: BTreeMap<SessionId, Timestamp>,
    by_due: BTreeSet<(Timestamp, SessionId)>,
}

impl LostSessions {
    /// A session ends at `due` unless it is removed before; begins anew if it was lost already.
    pub(super) fn insert(&mut self, session: SessionId, due: Timestamp) {
        self.remove(session);
        self.due.insert(session, due);
        self.by_due.insert((due, session));
    }

    /// A session is back, or its end is done with.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(due) = self.due.remove(&session) {
            self.by_due.remove(&(due, session));
        }
    }

    /// The first session whose time is over.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<SessionId> {
        let &(due, session) = self.by_due.first()?;
        (due <= now).then_some(session)
    }

    /// When the first session ends.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|&(due, _)| due)
    }
}
