//! From a cut to chunks.

use std::sync::Arc;

use corelane_wire::{ChunkPlace, Offset, ProducerId, QueueConfig, Timestamp};

use super::packed::pack;
use super::stored::{self, encode, halves};
use super::{ChunkSink, Cut};
use crate::ids::QueueId;
use crate::state::aside::SetAside;
use crate::state::chunk::{Frozen, Place};
use crate::state::done_set::{DonePage, DoneSet};
use crate::state::pages::Pages;
use crate::state::stretch::{Stretch, StretchRuns};
use crate::state::{Lease, Queue, QueuePage, Subscription, Window};

/// Chunks that were written, and their root.
pub struct Written {
    /// The chunk that names all others, to be handed to [`crate::Engine::restore`].
    pub root: Vec<u8>,
    places: Vec<(Arc<dyn Placed>, ChunkPlace)>,
}

/// Something that a checkpoint puts somewhere.
trait Placed: Send + Sync {
    fn place(&self) -> &Place;
}

impl<T: Send + Sync> Placed for Frozen<T> {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Placed for Place {
    fn place(&self) -> &Place {
        self
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Written")
            .field("root", &self.root.len())
            .field("places", &self.places.len())
            .finish()
    }
}

impl Written {
    /// The checkpoint is durable: what did not change since the cut is not written again (K2).
    pub fn publish(self) {
        for (chunk, place) in self.places {
            chunk.place().set(place);
        }
    }
}

impl Cut {
    /// Writes what changed, and keeps the rest.
    ///
    /// # Errors
    /// The first of the sink.
    pub fn write<S: ChunkSink>(&self, sink: &mut S) -> Result<Written, S::Error> {
        let mut out = Writer {
            sink,
            places: Vec::new(),
        };
        let queues = out.each(&self.queues, Writer::queue_page)?;
        let leases = out.each(&self.leases, |out, page| out.page(page, lease))?;
        let windows = out.each(&self.windows, |out, page| out.page(page, window))?;
        let root = stored::Root {
            form: stored::FORM,
            end: self.end.0,
            epoch: self.epoch.0,
            log_time: self.clock.log.0,
            jumps: self.clock.jumps,
            next_queue: self.next_queue,
            queues,
            leases,
            windows,
        };
        Ok(Written {
            root: encode(&root).to_vec(),
            places: out.places,
        })
    }
}

/// A cut on its way to a sink.
struct Writer<'a, S> {
    sink: &'a mut S,
    places: Vec<(Arc<dyn Placed>, ChunkPlace)>,
}

impl<S: ChunkSink> Writer<'_, S> {
    fn each<T>(
        &mut self,
        pages: &[Arc<Frozen<T>>],
        mut write: impl FnMut(&mut Self, &Arc<Frozen<T>>) -> Result<ChunkPlace, S::Error>,
    ) -> Result<Vec<stored::Place>, S::Error> {
        let places = pages.iter().map(|page| write(self, page).map(Into::into));
        places.collect()
    }

    /// Keeps a chunk that has a place, unless it must be written anew; writes one that has none.
    fn chunk(
        &mut self,
        chunk: Arc<dyn Placed>,
        is_changed: bool,
        bytes: impl FnOnce() -> Vec<u8>,
    ) -> Result<ChunkPlace, S::Error> {
        let before = chunk.place().get();
        let place = match before {
            Some(place) if !is_changed => self.sink.keep(place)?,
            Some(_) | None => self.sink.put(&bytes())?,
        };
        if before != Some(place) {
            self.places.push((chunk, place));
        }
        Ok(place)
    }

    /// A page of entries that hold no chunks.
    fn page<K, V, E>(
        &mut self,
        page: &Arc<Frozen<Vec<(K, V)>>>,
        entry: impl Fn((&K, &V)) -> E,
    ) -> Result<ChunkPlace, S::Error>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        Vec<E>: Encode,
    {
        self.chunk(Arc::clone(page) as Arc<dyn Placed>, false, || {
            let entries: Vec<E> = page
                .value
                .iter()
                .map(|(key, value)| entry((key, value)))
                .collect();
            entries.encode()
        })
    }

    fn queue_page(&mut self, page: &Arc<Frozen<QueuePage>>) -> Result<ChunkPlace, S::Error> {
        // A chunk inside that moves changes the page that names it.
        let placed = self.places.len();
        let queues = page.value.iter().map(|(id, queue)| self.queue(id.0, queue));
        let queues = queues.collect::<Result<Vec<_>, _>>()?;
        let is_changed = self.places.len() > placed;
        self.chunk(Arc::clone(page) as Arc<dyn Placed>, is_changed, || {
            encode(&queues).to_vec()
        })
    }

    fn queue(&mut self, id: u32, queue: &Queue) -> Result<stored::Queue, S::Error> {
        let stretches = queue.runs.stretches().iter();
        let stretches = stretches.map(|(first, stretch)| self.stretch(first.0, stretch));
        let stretches = stretches.collect::<Result<_, _>>()?;
        let scheduled = self.map(&queue.scheduled, INLINE_MAX, |(first, group)| {
            stored::Scheduled {
                due: group.due.0,
                first: first.0,
                count: group.count,
                ttl_ms: group.ttl_ms,
            }
        })?;
        let expiries = self.map(&queue.expiring, INLINE_MAX, expiring)?;
        let swept = queue.swept.map(|next| expiring((&next, &0)));
        let lapsed = self.done_set(&queue.lapsed)?;
        let subscriptions = queue.subscriptions.iter().chain(&queue.broadcasts);
        let subscriptions = subscriptions.map(|each| self.subscription(each));
        Ok(stored::Queue {
            id,
            name: queue.name.clone(),
            created: queue.created.0,
            start: queue.start.0,
            end: queue.end.0,
            enqueued: queue.enqueued,
            stretches,
            subscriptions: subscriptions.collect::<Result<_, _>>()?,
            next_subscription: queue.next_subscription.0,
            scheduled,
            config: config(queue.config),
            retained_from: queue.retained_from.map(|from| from.0),
            expiring: expiries,
            swept,
            lapsed,
        })
    }

    fn stretch(&mut self, first: u64, stretch: &Stretch) -> Result<stored::Stretch, S::Error> {
        let runs = match &stretch.runs {
            StretchRuns::Inline(runs) => stored::Runs::Inline(pack(runs)),
            StretchRuns::Apart { place, loaded } => {
                let chunk = Arc::clone(place) as Arc<dyn Placed>;
                let place = self.chunk(chunk, false, || {
                    let runs = loaded.as_deref().map_or(&[][..], Vec::as_slice);
                    assert!(!runs.is_empty(), "runs without a place are in memory");
                    pack(runs)
                })?;
                stored::Runs::Apart(place.into())
            }
        };
        Ok(stored::Stretch {
            first,
            end: stretch.end.0,
            first_lsn: stretch.first_lsn.0,
            last_lsn: stretch.last_lsn.0,
            bytes: stretch.bytes,
            count: stretch.count,
            live: stretch.live,
            is_relocated: stretch.is_relocated,
            runs,
        })
    }

    fn subscription(&mut self, of: &Subscription) -> Result<stored::Subscription, S::Error> {
        Ok(stored::Subscription {
            id: of.id.0,
            name: of.name.clone(),
            contract: of.config.promise(),
            in_flight_max: of.config.in_flight_max,
            rate_max: of.config.rate_max,
            attempts_max: of.config.attempts_max,
            backoff_ms: of.config.backoff_ms,
            backoff_max_ms: of.config.backoff_max_ms,
            pause: of.pause.as_ref().map(|pause| stored::Pause {
                reason: pause.reason.clone(),
                since: pause.since.0,
            }),
            begin: of.begin.0,
            gone: of.gone,
            acked: of.finished.acked,
            expired: of.finished.expired,
            purged: of.finished.purged,
            done: of.done.0,
            cursor: of.cursor.0,
            done_set: self.done_set(&of.done_set)?,
            returned: self.map(&of.returned, INLINE_MAX, |(first, fragment)| {
                stored::Returned {
                    first: first.0,
                    count: fragment.count,
                    attempts: fragment.attempts,
                }
            })?,
            behind: self.map(of.behind.rows(), INLINE_MAX, |(first, row)| {
                stored::Behind {
                    first: first.0,
                    count: row.fragment.count,
                    attempts: row.fragment.attempts,
                    lsn: row.back.lsn.0,
                    queue_end: row.back.queue_end.0,
                }
            })?,
            delayed: self.map(&of.delayed, INLINE_MAX, |((due, first), fragment)| {
                stored::Delayed {
                    due: due.0,
                    first: first.0,
                    count: fragment.count,
                    attempts: fragment.attempts,
                }
            })?,
            ahead: self.map(&of.ahead, INLINE_MAX, |(first, count)| stored::Ahead {
                first: first.0,
                count: *count,
            })?,
            dead: self.map(of.dead.rows(), INLINE_MAX, set_aside)?,
            parked: self.map(of.parked.rows(), INLINE_MAX, set_aside)?,
            dead_letters: of.dead_letters.as_deref().map(str::to_owned),
            letter: of.letter.as_ref().map(|letter| stored::Letter {
                epoch: letter.epoch.0,
                lsn: letter.lsn.0,
                to: letter.to.to_string(),
                row: set_aside((&letter.first, &letter.row)),
            }),
        })
    }

    fn done_set(&mut self, set: &DoneSet) -> Result<stored::Map<stored::DonePage>, S::Error> {
        self.map(set.map(), INLINE_PAGES_MAX, |(page, bits)| {
            stored::DonePage {
                page: *page,
                words: match bits {
                    DonePage::Full => Vec::new(),
                    DonePage::Bits(words) => words.to_vec(),
                },
            }
        })
    }

    fn map<K, V, E>(
        &mut self,
        map: &Pages<K, V>,
        inline_max: usize,
        entry: impl Fn((&K, &V)) -> E,
    ) -> Result<stored::Map<E>, S::Error>
    where
        K: Ord + Copy + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        Vec<E>: Encode,
    {
        if map.len() <= inline_max {
            let entries = map.iter().map(|(key, value)| entry((key, value)));
            return Ok(stored::Map::Inline(entries.collect()));
        }
        let pages: Vec<_> = map.frozen().cloned().collect();
        let places = self.each(&pages, |out, page| out.page(page, &entry))?;
        Ok(stored::Map::Pages(places))
    }
}

/// What is written as one chunk.
trait Encode {
    fn encode(&self) -> Vec<u8>;
}

macro_rules! encode_pages {
    ($($entry:ty),*) => {
        $(impl Encode for Vec<$entry> {
            fn encode(&self) -> Vec<u8> {
                encode(self).to_vec()
            }
        })*
    };
}

encode_pages!(
    stored::Lease,
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

fn expiring((&(at, first), &count): (&(Timestamp, Offset), &u32)) -> stored::Expiring {
    stored::Expiring {
        at: at.0,
        first: first.0,
        count,
    }
}

const fn config(config: QueueConfig) -> stored::QueueConfig {
    stored::QueueConfig {
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        retention_count: config.retention_count,
        messages_max: config.messages_max,
        bytes_max: config.bytes_max,
        overflow: config.overflow.as_u8(),
        ttl_ms: config.ttl_ms,
        slow_down_at: config.slow_down_at,
        storage: config.storage.as_u8(),
    }
}

fn set_aside((first, row): (&Offset, &SetAside)) -> stored::SetAside {
    stored::SetAside {
        first: first.0,
        count: row.count,
        attempts: row.attempts,
        cause: row.cause.as_u8(),
        since: row.since.0,
        leased: row.leased.0,
        session: halves(row.session.0),
        text: row.text.as_ref().to_owned(),
    }
}

fn lease((id, lease): (&corelane_wire::LeaseId, &Lease)) -> stored::Lease {
    let runs = lease.runs().iter().map(|run| stored::Held {
        first: run.first.0,
        count: run.count,
        attempt: run.attempt,
        deadline: run.deadline.0,
    });
    stored::Lease {
        epoch: id.epoch.0,
        lsn: id.lsn.0,
        queue: lease.key.0.0,
        subscription: lease.key.1.0,
        session: halves(lease.session.0),
        given: lease.given.0,
        runs: runs.collect(),
    }
}

fn window(((queue, producer), window): (&(QueueId, ProducerId), &Window)) -> stored::Window {
    let runs = window.runs.iter().map(|run| stored::WindowRun {
        sequence: run.sequence,
        first: run.first.0,
        count: run.count,
        batches: run.batches,
    });
    stored::Window {
        queue: queue.0,
        producer: halves(producer.0),
        next: window.next.0,
        used: window.used.0,
        runs: runs.collect(),
    }
}

/// Entries of a map that stand with their subscription.
const INLINE_MAX: usize = 16;
/// The same for pages of bits.
const INLINE_PAGES_MAX: usize = 1;
