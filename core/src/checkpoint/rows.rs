//! What a checkpoint holds of a subscription in rows: what is ahead of its cursor, and what was set aside.

use corelane_wire::{AsideCause, Offset, SessionId, Timestamp};

use super::restore::{Reader, RestoreError, Restored, check, fragment};
use super::stored::{self, whole};
use crate::state::Fragment;
use crate::state::aside::{AsideSet, SetAside};
use crate::state::pages::Pages;

impl Reader<'_, '_> {
    pub(super) fn ahead(
        &mut self,
        stored: stored::Map<stored::Ahead>,
        cursor: Offset,
    ) -> Restored<Pages<Offset, u64>> {
        let ahead = self.map(stored, |stored: stored::Ahead| {
            let first = Offset(stored.first);
            Ok((first, fragment(first, stored.count, 0)?.count))
        })?;
        let mut next = cursor;
        for (first, count) in ahead.iter() {
            check(next < *first, "what is ahead touches what is before")?;
            next = Offset(first.0 + count);
        }
        Ok(ahead)
    }

    pub(super) fn aside(&mut self, stored: stored::Map<stored::SetAside>) -> Restored<AsideSet> {
        let rows = self.map(stored, set_aside)?;
        AsideSet::of(rows).ok_or(RestoreError::Inconsistent(
            "more messages were set aside than there are",
        ))
    }
}

fn set_aside(stored: stored::SetAside) -> Restored<(Offset, SetAside)> {
    let first = Offset(stored.first);
    let Fragment { count, attempts } = fragment(first, stored.count, stored.attempts)?;
    let row = SetAside {
        count,
        attempts,
        cause: AsideCause::from_u8(stored.cause).ok_or(RestoreError::Inconsistent(
            "messages were set aside for no known cause",
        ))?,
        since: Timestamp(stored.since),
        leased: Timestamp(stored.leased),
        session: SessionId(whole(stored.session)),
        text: stored.text.into(),
    };
    Ok((first, row))
}
