//! All chunks of a checkpoint, without the state that they hold.

use std::collections::VecDeque;

use corelane_wire::ChunkPlace;

use super::former;
use super::restore::RestoreError;
use super::stored::{self, decode};

/// The chunks of a checkpoint, one after the other, to be read through.
///
/// The root names some, and those that hold queues name the others: what was read of such a one goes into
/// [`ChunkWalk::enter`].
#[derive(Debug)]
pub struct ChunkWalk {
    form: u32,
    left: VecDeque<ChunkToRead>,
}

/// A chunk that the walk has come to.
#[derive(Clone, Copy, Debug)]
pub struct ChunkToRead {
    /// Where it lies.
    pub place: ChunkPlace,
    holds_queues: bool,
}

impl ChunkWalk {
    /// The walk over the checkpoint with this root.
    ///
    /// # Errors
    /// If it is no root.
    pub fn new(root: &[u8]) -> Result<Self, RestoreError> {
        let root: stored::Root = decode(root).map_err(RestoreError::Root)?;
        if !former::is_readable(root.form) {
            return Err(RestoreError::Form(root.form));
        }
        let queues = root.queues.into_iter().map(|place| ChunkToRead {
            place: place.into(),
            holds_queues: true,
        });
        let mut walk = Self {
            form: root.form,
            left: queues.collect(),
        };
        walk.push(root.leases);
        walk.push(root.windows);
        Ok(walk)
    }

    /// The next chunk; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<ChunkToRead> {
        self.left.pop_front()
    }

    /// Takes note of the chunks that a chunk names.
    ///
    /// # Errors
    /// If the bytes, whose checksum is right, are not those of such a chunk.
    pub fn enter(&mut self, chunk: ChunkToRead, bytes: &[u8]) -> Result<(), RestoreError> {
        if !chunk.holds_queues {
            return Ok(());
        }
        let queues = former::queues(self.form, bytes);
        let queues = queues.map_err(|reason| RestoreError::Chunk {
            place: chunk.place,
            reason,
        })?;
        for queue in queues {
            self.push(queue.stretches.into_iter().filter_map(|it| match it.runs {
                stored::Runs::Apart(place) => Some(place),
                stored::Runs::Inline(_) => None,
            }));
            self.push(pages(queue.scheduled));
            self.push(pages(queue.expiring));
            self.push(pages(queue.lapsed));
            for subscription in queue.subscriptions {
                self.push(pages(subscription.done_set));
                self.push(pages(subscription.returned));
                self.push(pages(subscription.behind));
                self.push(pages(subscription.delayed));
                self.push(pages(subscription.ahead));
                self.push(pages(subscription.dead));
                self.push(pages(subscription.parked));
            }
        }
        Ok(())
    }

    fn push(&mut self, places: impl IntoIterator<Item = stored::Place>) {
        self.left
            .extend(places.into_iter().map(|place| ChunkToRead {
                place: place.into(),
                holds_queues: false,
            }));
    }
}

fn pages<E>(map: stored::Map<E>) -> Vec<stored::Place> {
    match map {
        stored::Map::Inline(_) => Vec::new(),
        stored::Map::Pages(places) => places,
    }
}
