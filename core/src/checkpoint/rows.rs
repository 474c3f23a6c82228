//! What a checkpoint holds in rows: what is ahead of a cursor, what was set aside, what happens at an instant, and sets of
//! messages; and the configuration of a queue.

use corelane_wire::{
    AsideCause, Epoch, Lsn, Offset, Overflow, QueueConfig, SessionId, Storage, Timestamp,
};

use super::restore::{Reader, RestoreError, Restored, check, fragment};
use super::stored::{self, whole};
use crate::state::aside::{AsideSet, SetAside};
use crate::state::behind::{Behind, BehindRow, Comeback};
use crate::state::done_set::{DonePage, DoneSet, WORDS};
use crate::state::letter::Letter;
use crate::state::pages::Pages;
use crate::state::{Fragment, Group};

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

    /// What a queue has scheduled; former forms had it by its due time.
    pub(super) fn scheduled(
        &mut self,
        stored: stored::Map<stored::Scheduled>,
    ) -> Restored<Pages<Offset, Group>> {
        let places = match stored {
            stored::Map::Pages(places) if !self.is_todays() => places,
            stored::Map::Inline(_) | stored::Map::Pages(_) => return self.map(stored, group),
        };
        let by_due = stored::Map::Pages(places);
        let by_due = self.map(by_due, |stored: stored::Delayed| {
            let (first, group) = group(stored.into())?;
            Ok(((group.due, first), group))
        })?;
        let mut scheduled = Pages::new();
        for (&(_, first), &group) in by_due.iter() {
            scheduled.insert(first, group);
        }
        Ok(scheduled)
    }

    pub(super) fn behind(&mut self, stored: stored::Map<stored::Behind>) -> Restored<Behind> {
        let rows = self.map(stored, |stored: stored::Behind| {
            let first = Offset(stored.first);
            let fragment = fragment(first, stored.count, stored.attempts)?;
            let back = Comeback {
                lsn: Lsn(stored.lsn),
                queue_end: Offset(stored.queue_end),
            };
            Ok((first, BehindRow { fragment, back }))
        })?;
        Ok(Behind::of(rows))
    }

    pub(super) fn done_set(&mut self, stored: stored::Map<stored::DonePage>) -> Restored<DoneSet> {
        let pages = self.map(stored, done_page)?;
        DoneSet::of(pages).ok_or(RestoreError::Inconsistent(
            "a page of done messages is empty or full",
        ))
    }

    pub(super) fn aside(&mut self, stored: stored::Map<stored::SetAside>) -> Restored<AsideSet> {
        let rows = self.map(stored, set_aside)?;
        AsideSet::of(rows).ok_or(RestoreError::Inconsistent(
            "more messages were set aside than there are",
        ))
    }
}

fn group(stored: stored::Scheduled) -> Restored<(Offset, Group)> {
    let first = Offset(stored.first);
    let group = Group {
        due: Timestamp(stored.due),
        count: fragment(first, stored.count, 0)?.count,
        ttl_ms: stored.ttl_ms,
    };
    Ok((first, group))
}

/// Messages whose time to live ends at one instant.
pub(super) fn expiring(stored: stored::Expiring) -> Restored<((Timestamp, Offset), u32)> {
    let key = (Timestamp(stored.at), Offset(stored.first));
    fragment(key.1, stored.count.into(), 0)?;
    Ok((key, stored.count))
}

pub(super) fn config(stored: &stored::QueueConfig) -> Restored<QueueConfig> {
    const UNKNOWN: RestoreError = RestoreError::Inconsistent("a queue has no known configuration");
    Ok(QueueConfig {
        retention_ms: stored.retention_ms,
        retention_bytes: stored.retention_bytes,
        retention_count: stored.retention_count,
        messages_max: stored.messages_max,
        bytes_max: stored.bytes_max,
        overflow: Overflow::from_u8(stored.overflow).ok_or(UNKNOWN)?,
        ttl_ms: stored.ttl_ms,
        slow_down_at: stored.slow_down_at,
        storage: Storage::from_u8(stored.storage).ok_or(UNKNOWN)?,
    })
}

fn done_page(stored: stored::DonePage) -> Restored<(u64, DonePage)> {
    let page = if stored.words.is_empty() {
        DonePage::Full
    } else {
        let words: Box<[u64; WORDS]> = stored
            .words
            .try_into()
            .map_err(|_| RestoreError::Inconsistent("a page of done messages has another size"))?;
        DonePage::Bits(words)
    };
    Ok((stored.page, page))
}

/// Dead messages under way.
pub(super) fn letter(stored: stored::Letter) -> Restored<Letter> {
    let (first, row) = set_aside(stored.row)?;
    Ok(Letter {
        epoch: Epoch(stored.epoch),
        lsn: Lsn(stored.lsn),
        to: stored.to.into(),
        first,
        row,
    })
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
