//! From chunks to a state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use corelane_wire::{
    ChunkPlace, Epoch, LeaseId, Lsn, Offset, ProducerId, Sequence, SessionId, SubscriptionConfig,
    Timestamp, check_name,
};

use super::ReadChunk;
use super::former;
use super::packed::unpack;
use super::rows::{config, expiring, letter};
use super::stored::{self, decode, whole};
use crate::ids::{QueueId, SubscriptionId};
use crate::state::chunk::{Chunk, Place};
use crate::state::pages::{PAGE_MAX, Pages};
use crate::state::stretch::{Stretch, StretchRuns};
use crate::state::{
    Finished, Fragment, HeldRun, Lease, Pause, Queue, State, Subscription, SubscriptionKey, Window,
    WindowRun,
};
use crate::time::{LeaseTime, LogClock};

/// Why a checkpoint cannot be restored; an older one, or the whole log, has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// A chunk cannot be read.
    Chunk {
        /// Where it should lie.
        place: ChunkPlace,
        /// Why.
        reason: String,
    },
    /// The root is not one.
    Root(String),
    /// It was written in a form that this version does not read.
    Form(u32),
    /// The chunks are whole, but what they say does not fit together.
    Inconsistent(&'static str),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk { place, reason } => write!(
                formatter,
                "chunk at {} of file {}: {reason}",
                place.position, place.file
            ),
            Self::Root(reason) => write!(formatter, "root: {reason}"),
            Self::Form(form) => write!(
                formatter,
                "form {form} is none of {} to {}",
                former::FORM_MIN,
                stored::FORM
            ),
            Self::Inconsistent(what) => formatter.write_str(what),
        }
    }
}

impl std::error::Error for RestoreError {}

pub(super) type Restored<T> = Result<T, RestoreError>;

impl State {
    /// The state that was cut.
    pub(crate) fn restore(root: &[u8], read: &mut ReadChunk<'_>) -> Restored<Self> {
        let root: stored::Root = decode(root).map_err(RestoreError::Root)?;
        if !former::is_readable(root.form) {
            return Err(RestoreError::Form(root.form));
        }
        let mut state = Self {
            end: Lsn(root.end),
            epoch: Epoch(root.epoch),
            clock: LogClock {
                log: Timestamp(root.log_time),
                jumps: root.jumps,
            },
            ..Self::default()
        };
        state.queues.set_next(root.next_queue);
        let mut reader = Reader {
            read,
            form: root.form,
        };
        for place in root.queues {
            let (stored, place) = reader.chunk(place, former::queues)?;
            let queues = stored.into_iter().map(|queue| reader.queue(queue));
            let page = queues.collect::<Restored<Vec<_>>>()?;
            let is_next = state.queues.push_page(reader.kept(page, place));
            check(is_next, "a page of queues does not follow the one before")?;
        }
        for place in root.leases {
            let (stored, place) = reader.chunk(place, former::leases)?;
            check(stored.len() <= PAGE_MAX, "a page has too many entries")?;
            let page = stored
                .into_iter()
                .map(lease)
                .collect::<Restored<Vec<_>>>()?;
            let is_next = state.leases.push_page(reader.kept(page, place));
            check(is_next, "a page of leases does not follow the one before")?;
        }
        for place in root.windows {
            let (page, place) = reader.page(place, window)?;
            let is_next = state.producers.push_page(Chunk::stored(page, place));
            check(is_next, "a page of windows does not follow the one before")?;
        }
        state.derive()?;
        Ok(state)
    }

    /// Checks the sums, and derives what is not stored.
    fn derive(&mut self) -> Restored<()> {
        let mut leased: BTreeMap<SubscriptionKey, u64> = BTreeMap::new();
        for (id, lease) in self.leases.iter() {
            check(id.lsn < self.end, "a lease is younger than the checkpoint")?;
            let count: u64 = lease.runs().iter().map(|run| u64::from(run.count)).sum();
            *leased.entry(lease.key).or_default() += count;
        }
        for (id, queue) in self.queues.iter() {
            for subscription in &queue.subscriptions {
                let key = (id, subscription.id);
                let leased = leased.remove(&key).unwrap_or(0);
                check(
                    subscription.leased == leased,
                    "the leases do not hold what a subscription has under lease",
                )?;
                self.due
                    .extend(subscription.next_due().map(|due| (due, key)));
                self.counts.enter(subscription, queue.end);
            }
            let expiry = queue.next_expiry();
            self.expiries.extend(expiry.map(|first| (first, id)));
            self.counts.subscriptions += queue.broadcasts.len();
            self.counts.messages += queue.end.0 - queue.start.0;
        }
        check(leased.is_empty(), "a lease is of no subscription")
    }
}

/// Reads chunks.
pub(super) struct Reader<'a, 'r> {
    read: &'a mut ReadChunk<'r>,
    /// Of the checkpoint.
    form: u32,
}

impl Reader<'_, '_> {
    fn chunk<T>(
        &mut self,
        place: stored::Place,
        decode: impl Fn(u32, &[u8]) -> Result<T, String>,
    ) -> Restored<(T, ChunkPlace)> {
        let place = ChunkPlace::from(place);
        let fault = |reason| RestoreError::Chunk { place, reason };
        let bytes = (self.read)(place).map_err(fault)?;
        Ok((decode(self.form, &bytes).map_err(fault)?, place))
    }

    /// Whether the checkpoint has the form that is written today.
    pub(super) const fn is_todays(&self) -> bool {
        self.form == stored::FORM
    }

    /// A page as it goes into the state. One of a former form has no place: the next checkpoint writes it in today's.
    fn kept<T: Clone + Default>(&self, page: T, place: ChunkPlace) -> Chunk<T> {
        match self.form {
            stored::FORM => Chunk::stored(page, place),
            _ => Chunk::Own(page),
        }
    }

    fn page<E, K, V>(
        &mut self,
        place: stored::Place,
        entry: impl Fn(E) -> Restored<(K, V)>,
    ) -> Restored<(Vec<(K, V)>, ChunkPlace)>
    where
        Vec<E>: Decode,
    {
        let (stored, place) = self.chunk(place, |_, bytes| Vec::<E>::decode(bytes))?;
        check(stored.len() <= PAGE_MAX, "a page has too many entries")?;
        let entries = stored
            .into_iter()
            .map(entry)
            .collect::<Restored<Vec<_>>>()?;
        Ok((entries, place))
    }

    pub(super) fn map<E, K: Ord + Copy, V: Clone>(
        &mut self,
        stored: stored::Map<E>,
        entry: impl Fn(E) -> Restored<(K, V)>,
    ) -> Restored<Pages<K, V>>
    where
        Vec<E>: Decode,
    {
        let mut map = Pages::new();
        match stored {
            stored::Map::Inline(entries) => {
                for stored in entries {
                    let (key, value) = entry(stored)?;
                    let before = map.insert(key, value);
                    check(before.is_none(), "a map has one key twice")?;
                }
            }
            stored::Map::Pages(places) => {
                for place in places {
                    let (page, place) = self.page(place, &entry)?;
                    let is_next = map.push_page(Chunk::stored(page, place));
                    check(is_next, "a page does not follow the one before")?;
                }
            }
        }
        Ok(map)
    }

    fn queue(&mut self, stored: stored::Queue) -> Restored<(QueueId, Queue)> {
        check(
            check_name(&stored.name).is_ok(),
            "the name of a queue is not one",
        )?;
        check(stored.start <= stored.end, "a queue ends before it starts")?;
        let end = Offset(stored.end);
        let mut queue = Queue::new(stored.name, Timestamp(stored.created));
        queue.start = Offset(stored.start);
        queue.end = end;
        queue.enqueued = stored.enqueued;
        queue.next_subscription = SubscriptionId(stored.next_subscription);
        queue.scheduled = self.scheduled(stored.scheduled)?;
        queue.config = config(&stored.config)?;
        queue.retained_from = stored.retained_from.map(Offset);
        queue.expiring = self.map(stored.expiring, expiring)?;
        let swept = stored.swept;
        queue.swept = swept.map(|next| (Timestamp(next.at), Offset(next.first)));
        queue.lapsed = self.done_set(stored.lapsed)?;
        for stretch in stored.stretches {
            let first = Offset(stretch.first);
            check(stretch.end <= end.0, "a stretch ends behind its queue")?;
            let is_next = queue.runs.push_stretch(first, restore_stretch(stretch)?);
            check(is_next, "a stretch does not follow the one before")?;
        }
        for subscription in stored.subscriptions {
            let subscription = self.subscription(subscription)?;
            check(
                subscription.cursor <= end,
                "a cursor stands behind its queue",
            )?;
            let ahead = subscription.ahead.iter().last();
            check(
                ahead.is_none_or(|(first, count)| first.0 + count <= end.0),
                "what is ahead stands behind its queue",
            )?;
            check(
                queue.start <= subscription.done || !subscription.is_kept_for(),
                "a subscription is done with less than all",
            )?;
            let siblings = if subscription.is_kept_for() {
                &mut queue.subscriptions
            } else {
                &mut queue.broadcasts
            };
            let before = siblings.last();
            let follows = before.is_none_or(|before| before.id < subscription.id)
                && subscription.id < queue.next_subscription;
            check(follows, "a subscription does not follow the one before")?;
            siblings.push(subscription);
        }
        queue.note_failed();
        Ok((QueueId(stored.id), queue))
    }

    fn subscription(&mut self, stored: stored::Subscription) -> Restored<Subscription> {
        check(
            check_name(&stored.name).is_ok(),
            "the name of a subscription is not one",
        )?;
        check(
            stored.done <= stored.cursor,
            "a subscription is done with more than it gave out",
        )?;
        check(
            stored.begin <= stored.done,
            "a subscription is done with less than before it began",
        )?;
        let id = SubscriptionId(stored.id);
        let mut subscription = Subscription::new(id, stored.name, Offset(stored.done));
        subscription.begin = Offset(stored.begin);
        subscription.gone = stored.gone;
        let promise = SubscriptionConfig::read_promise(stored.contract);
        let (contract, returned) = promise.ok_or(RestoreError::Inconsistent(
            "a subscription has no known contract",
        ))?;
        subscription.config = SubscriptionConfig {
            contract,
            returned,
            in_flight_max: stored.in_flight_max,
            rate_max: stored.rate_max,
            attempts_max: stored.attempts_max,
            backoff_ms: stored.backoff_ms,
            backoff_max_ms: stored.backoff_max_ms,
        };
        subscription.pause = stored.pause.map(|pause| Pause {
            reason: pause.reason,
            since: Timestamp(pause.since),
        });
        subscription.finished = Finished {
            acked: stored.acked,
            expired: stored.expired,
            purged: stored.purged,
        };
        subscription.cursor = Offset(stored.cursor);
        subscription.done_set = self.done_set(stored.done_set)?;
        subscription.returned = self.map(stored.returned, |stored: stored::Returned| {
            let first = Offset(stored.first);
            Ok((first, fragment(first, stored.count, stored.attempts)?))
        })?;
        subscription.behind = self.behind(stored.behind)?;
        subscription.delayed = self.map(stored.delayed, |stored: stored::Delayed| {
            let first = Offset(stored.first);
            let key = (Timestamp(stored.due), first);
            Ok((key, fragment(first, stored.count, stored.attempts)?))
        })?;
        subscription.ahead = self.ahead(stored.ahead, subscription.cursor)?;
        subscription.dead = self.aside(stored.dead)?;
        subscription.parked = self.aside(stored.parked)?;
        subscription.dead_letters = stored.dead_letters.map(Into::into);
        subscription.letter = stored.letter.map(letter).transpose()?;
        if self.form < former::FORM_COUNTING {
            subscription.finished.acked = subscription.done_set.count();
        }
        check(
            subscription.accounts(),
            "a subscription is done with more or less than was finished",
        )?;
        check(
            subscription.derive(),
            "a subscription holds more than it gave out",
        )?;
        Ok(subscription)
    }
}

fn restore_stretch(stored: stored::Stretch) -> Restored<Stretch> {
    let runs = match stored.runs {
        stored::Runs::Apart(place) => StretchRuns::Apart {
            place: Arc::new(Place::at(place.into())),
            loaded: None,
        },
        stored::Runs::Inline(packed) => StretchRuns::Inline(unpack(&packed).unwrap_or_default()),
    };
    let stretch = Stretch {
        end: Offset(stored.end),
        first_lsn: Lsn(stored.first_lsn),
        last_lsn: Lsn(stored.last_lsn),
        bytes: stored.bytes,
        count: stored.count,
        live: stored.live,
        is_relocated: stored.is_relocated,
        runs,
    };
    if let StretchRuns::Inline(runs) = &stretch.runs {
        check(
            stretch.is_of(runs, Offset(stored.first)),
            "the runs of a stretch do not cover it",
        )?;
    }
    Ok(stretch)
}

pub(super) fn fragment(first: Offset, count: u64, attempts: u32) -> Restored<Fragment> {
    let is_range = count > 0 && first.0.checked_add(count).is_some();
    check(is_range, "a fragment is no range of offsets")?;
    Ok(Fragment { count, attempts })
}

fn lease(stored: stored::Lease) -> Restored<(LeaseId, Lease)> {
    let id = LeaseId {
        epoch: Epoch(stored.epoch),
        lsn: Lsn(stored.lsn),
    };
    let key = (QueueId(stored.queue), SubscriptionId(stored.subscription));
    let is_range = |run: &stored::Held| run.first.checked_add(run.count.into()).is_some();
    check(
        stored.runs.iter().all(is_range),
        "a lease holds no range of offsets",
    )?;
    let runs = stored.runs.into_iter().map(|run| HeldRun {
        first: Offset(run.first),
        count: run.count,
        attempt: run.attempt,
        deadline: LeaseTime(run.deadline),
    });
    let session = SessionId(whole(stored.session));
    let whose = (key, session, Timestamp(stored.given));
    let lease = Lease::read(whose, runs.collect());
    let lease = lease.ok_or(RestoreError::Inconsistent(
        "the runs of a lease are not in order",
    ))?;
    Ok((id, lease))
}

fn window(stored: stored::Window) -> Restored<((QueueId, ProducerId), Window)> {
    let is_range = |run: &stored::WindowRun| {
        let messages = run.batches.checked_mul(run.count.into());
        let end = messages.and_then(|messages| run.first.checked_add(messages));
        run.batches > 0 && end.is_some() && run.sequence.checked_add(run.batches).is_some()
    };
    check(
        stored.runs.iter().all(is_range),
        "a window holds no range of offsets",
    )?;
    let runs = stored.runs.into_iter().map(|run| WindowRun {
        sequence: run.sequence,
        first: Offset(run.first),
        count: run.count,
        batches: run.batches,
    });
    let window = Window {
        next: Sequence(stored.next),
        used: LeaseTime(stored.used),
        runs: runs.collect(),
    };
    let producer = ProducerId(whole(stored.producer));
    Ok(((QueueId(stored.queue), producer), window))
}

pub(super) fn check(holds: bool, what: &'static str) -> Restored<()> {
    if holds {
        Ok(())
    } else {
        Err(RestoreError::Inconsistent(what))
    }
}

/// What is read as one chunk.
pub(super) trait Decode: Sized {
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

macro_rules! decode_pages {
    ($($entry:ty),*) => {
        $(impl Decode for Vec<$entry> {
            fn decode(bytes: &[u8]) -> Result<Self, String> {
                decode(bytes)
            }
        })*
    };
}

decode_pages!(
    stored::Window,
    stored::DonePage,
    stored::Returned,
    stored::Behind,
    stored::Delayed,
    stored::Scheduled,
    stored::Expiring,
    stored::Ahead,
    stored::SetAside
);
