//! Runs that are not in memory: asked for when a consumer comes near, put back when they were read.
//!
//! Invariants: (L1) a stretch is asked for once at a time. (L2) whoever needs it waits: dequeues and consumers where they
//! wait for messages anyway, peeks here; an answer says "empty" only if there is nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_wire::{ChunkPlace, ErrorCode, Lane, Offset, Peek};

use super::{Engine, Output, Reply, Requester};
use crate::checkpoint::unpack;
use crate::ids::{ConnectionId, QueueId};
use crate::state::runs::RunsAt;

/// What is being read, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Loads {
    asked: BTreeMap<(QueueId, Offset), ChunkPlace>,
    /// Queues for which nothing more could be asked.
    hungry: BTreeSet<QueueId>,
    peeks: Vec<WaitingPeek>,
    /// A dequeue whose time is over waits for a read.
    pub(super) holds_waits: bool,
}

/// A peek that waits for a stretch.
#[derive(Debug)]
struct WaitingPeek {
    asker: Requester,
    stretch: (QueueId, Offset),
    queue: String,
    lane: Lane,
    from: Offset,
    count: u32,
}

impl Loads {
    /// Whether messages of the queue wait for a read.
    pub(super) fn concern(&self, queue: QueueId) -> bool {
        let first = (queue, Offset(0));
        let next = self.asked.range(first..).next();
        next.is_some_and(|((of, _), _)| *of == queue) || self.hungry.contains(&queue)
    }

    /// The connection has gone: nobody waits for what it wanted to peek at.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.peeks
            .retain(|peek| peek.asker.connection != connection);
    }
}

impl Engine {
    /// Asks for a stretch unless it was asked for.
    pub(super) fn load(
        &mut self,
        queue: QueueId,
        (first, place): (Offset, ChunkPlace),
        outputs: &mut VecDeque<Output>,
    ) {
        if self.loads.asked.contains_key(&(queue, first)) {
            return;
        }
        if self.loads.asked.len() >= self.limits.loads_max {
            self.loads.hungry.insert(queue);
            return;
        }
        self.loads.asked.insert((queue, first), place);
        outputs.push_back(Output::Load {
            queue,
            first,
            place,
        });
    }

    /// Lets a peek wait for a stretch.
    pub(super) fn wait_to_peek(
        &mut self,
        asker: Requester,
        peek: &Peek<'_>,
        (queue, (first, place)): (QueueId, (Offset, ChunkPlace)),
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), super::request::Refusal> {
        if self.loads.peeks.len() >= self.limits.loads_max {
            let text = format!("{} peeks wait for the disk", self.loads.peeks.len());
            return Err((ErrorCode::Busy, text));
        }
        self.loads.peeks.push(WaitingPeek {
            asker,
            stretch: (queue, first),
            queue: peek.queue.to_owned(),
            lane: peek.lane,
            from: peek.from,
            count: peek.count,
        });
        self.load(queue, (first, place), outputs);
        Ok(())
    }

    /// A stretch was read, or cannot be.
    pub(super) fn on_loaded(
        &mut self,
        queue: QueueId,
        first: Offset,
        chunk: Option<&[u8]>,
        outputs: &mut VecDeque<Output>,
    ) {
        let asked = self.loads.asked.remove(&(queue, first));
        self.loads.holds_waits = false;
        let of_queue = self.state.queues.get_mut(queue);
        let place = match of_queue.as_ref().map(|of| of.runs.at(first)) {
            Some(RunsAt::Away(at, place)) if at == first => place,
            // What was deleted, moved or read by others meanwhile is missed by nobody.
            Some(RunsAt::Away(..) | RunsAt::Here(..) | RunsAt::Nothing) | None => {
                return self.after_load(queue, None, outputs);
            }
        };
        if let (Some(of_queue), Some(runs)) = (of_queue, chunk.and_then(unpack)) {
            let count = runs.len();
            if let Some(last) = of_queue.runs.load(first, runs) {
                self.state.loaded.push(queue, last, count);
                return self.after_load(queue, None, outputs);
            }
        }
        if asked != Some(place) {
            // A checkpoint moved it while the read waited, or it is another stretch now.
            return self.load(queue, (first, place), outputs);
        }
        // Or it would be asked for again with every slice of a relocation.
        let of_queue = self.state.queues.get(queue);
        let stretch = of_queue.and_then(|of| of.runs.stretch_of(first));
        let end = stretch.map_or(first, |(_, stretch)| stretch.end);
        self.moves.give_up(queue, first..end);
        let text = format!("where messages from {first} on lie cannot be read back");
        self.after_load(queue, Some(&text), outputs);
    }

    /// Those who waited go on, or are told why they cannot.
    fn after_load(
        &mut self,
        queue: QueueId,
        failure: Option<&String>,
        outputs: &mut VecDeque<Output>,
    ) {
        let asked = &self.loads.asked;
        let is_over = |peek: &mut WaitingPeek| !asked.contains_key(&peek.stretch);
        let peeks: Vec<_> = self.loads.peeks.extract_if(.., is_over).collect();
        for peek in peeks {
            let whose = peek.asker;
            let again = Peek {
                queue: &peek.queue,
                from: peek.from,
                count: peek.count,
                lane: peek.lane,
            };
            let refused = match failure {
                Some(text) if peek.stretch.0 == queue => Err((ErrorCode::Damaged, text.clone())),
                Some(_) | None => self.on_peek(whose, &again, outputs),
            };
            if let Err((code, text)) = refused {
                self.reply(whose, Reply::Refused { code, text }, outputs);
            }
        }
        if let Some(text) = failure {
            for asker in self.demand.end_waits_in(queue) {
                let code = ErrorCode::Damaged;
                let text = text.clone();
                self.reply(asker, Reply::Refused { code, text }, outputs);
            }
        } else {
            self.demand.activate_queue(queue);
            self.retention.look(queue);
        }
        for queue in std::mem::take(&mut self.loads.hungry) {
            self.demand.activate_queue(queue);
            self.retention.look(queue);
        }
    }
}
