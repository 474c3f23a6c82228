//! A partition as its shard hosts it: engine, log, files, and deliveries on their way.
//!
//! Executes what the engine puts out, at once and in order. Invariants: (P1) outputs of one step
//! are drained before the next, while the request being stepped is still at hand, because an
//! Enqueue record takes its bytes from there. (P2) a poisoned partition appends and writes
//! nothing more.

use std::collections::VecDeque;

use corelane_core::{Engine, Input, Outgoing, Output, Record, Reply, Requester, Status};
use corelane_storage::{Log, LogIo, NewRecord, SegmentNumber};
use corelane_wire::{Deliveries, ErrorCode, Lsn, PartitionId, Request, Response, Timestamp};

use super::checkpoints::Checkpoints;
use super::delivery::Pending;
use super::fetches::Fetches;
use super::files::Files;
use super::outlets::Outlets;
use super::relocation::Relocation;
use super::stalls::Writing;
use crate::recovery::{PartitionStart, PartitionState, ReadyPartition};
use crate::stats::Counters;

/// A partition of this shard.
#[derive(Debug)]
pub(super) enum Hosted {
    /// Its log could be read, at least the front of it.
    Serving(Box<Partition>),
    /// Recovery found confirmed records damaged; nothing is served from it.
    Damaged(String),
}

/// A partition whose log could be read.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    /// Whether nothing of it outlives the process: it is never synced.
    pub(super) is_volatile: bool,
    pub(super) engine: Engine,
    pub(super) log: Log,
    pub(super) files: Files,
    /// Messages that were given out and whose frames are not encoded yet.
    pub(super) pending: Pending,
    pub(super) checkpoints: Checkpoints,
    pub(super) relocation: Relocation,
    /// Records whose keys the engine has to know.
    pub(super) key_reads: Fetches,
    /// Records with dead messages that go to another queue.
    pub(super) letter_reads: Fetches,
    /// Letters that were composed of them.
    pub(super) letters: Vec<Outgoing>,
    /// Records below it gate something.
    pub(super) flush_to: Lsn,
    /// Whether it was stepped since its last `TurnEnd`.
    touched: bool,
    /// What the engine wanted after its last `TurnEnd`; counts while it is not touched.
    deadline: Option<Timestamp>,
    /// Whether a write failed, so that it confirms nothing more, or none may be made.
    pub(super) poisoned: bool,
    /// Why it only shows what it holds: what every other request is refused with.
    pub(super) read_only: Option<String>,
    /// The segment that the log asked for, with the bytes it will have.
    pub(super) wanted: Option<(SegmentNumber, u64)>,
    /// The write of the log that the driver has.
    pub(super) writing: Option<Writing>,
    /// A write that waits for its file to be opened.
    pub(super) waiting_write: Option<LogIo>,
    /// The segment whose opening a read waits for.
    pub(super) waiting_read: Option<SegmentNumber>,
}

/// What a step needs besides the partition itself.
pub(super) struct Step<'a> {
    pub(super) now: Timestamp,
    pub(super) outlets: &'a mut Outlets,
    pub(super) scratch: &'a mut Scratch,
    pub(super) counters: &'a mut Counters,
}

/// Memory that steps use again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    outputs: VecDeque<Output>,
    head: Vec<u8>,
    /// A batch that is a part of another.
    part: Vec<u8>,
}

impl Hosted {
    pub(super) fn new(start: PartitionStart) -> Self {
        match start.state {
            PartitionState::Damaged {
                reason,
                known: None,
            } => Self::Damaged(reason),
            PartitionState::Damaged {
                reason,
                known: Some(known),
            } => {
                let mut partition = Partition::new(start.partition, *known);
                // P2: nothing is written to it.
                partition.poisoned = true;
                partition.read_only = Some(reason);
                Self::Serving(Box::new(partition))
            }
            PartitionState::Ready(ready) => {
                Self::Serving(Box::new(Partition::new(start.partition, *ready)))
            }
        }
    }

    /// Why it only shows what it holds, if so.
    pub(super) fn read_only(&self) -> Option<&str> {
        self.serving()?.read_only.as_deref()
    }

    pub(super) fn serving(&self) -> Option<&Partition> {
        match self {
            Self::Serving(partition) => Some(partition),
            Self::Damaged(_) => None,
        }
    }

    pub(super) fn serving_mut(&mut self) -> Option<&mut Partition> {
        match self {
            Self::Serving(partition) => Some(partition),
            Self::Damaged(_) => None,
        }
    }
}

impl Partition {
    fn new(id: PartitionId, ready: ReadyPartition) -> Self {
        Self {
            id,
            is_volatile: false,
            checkpoints: Checkpoints::new(ready.checkpoint, ready.leftovers),
            relocation: Relocation::default(),
            key_reads: Fetches::default(),
            letter_reads: Fetches::default(),
            letters: Vec::new(),
            files: Files::default(),
            pending: Pending::default(),
            flush_to: Lsn(0),
            touched: false,
            deadline: None,
            poisoned: false,
            read_only: None,
            wanted: None,
            writing: None,
            waiting_write: None,
            waiting_read: None,
            engine: ready.engine,
            log: ready.log,
        }
    }

    /// Whether its epoch is committed, so that it serves (or did until its disk failed).
    pub(super) fn is_started(&self) -> bool {
        match self.engine.stats().status {
            Status::Replaying | Status::Starting { .. } => false,
            Status::Serving | Status::Poisoned | Status::ReadOnly => true,
        }
    }

    /// Whether nothing that was appended still has to become durable.
    pub(super) fn is_flushed(&self) -> bool {
        self.poisoned || self.log.durable() == self.log.end()
    }

    /// Whether records that gate something cannot be written before a segment is there.
    pub(super) fn is_stuck(&self) -> bool {
        let is_flushing = self.writing.is_some() || self.waiting_write.is_some();
        self.wanted.is_some() && !is_flushing && self.log.durable() < self.flush_to
    }

    /// Whether more messages would need a segment that is not there.
    pub(super) fn lacks_segment(&self) -> bool {
        self.wanted.is_some() || self.log.segments().is_empty()
    }

    /// Bytes of the segments that hold its log.
    pub(super) fn log_bytes(&self) -> u64 {
        let sealed: u64 = self.log.sealed().map(|segment| segment.bytes).sum();
        sealed + self.log.current().map_or(0, |(_, bytes)| bytes)
    }

    /// Whether it was stepped since its last `TurnEnd`.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    /// When the engine wants to be stepped. Asked of every partition in every turn, so the answer of one that
    /// rests is kept.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        if self.touched {
            self.engine.next_deadline()
        } else {
            self.deadline
        }
    }

    /// Ends the turn in the engine, if it was stepped.
    pub(super) fn end_turn(&mut self, at: &mut Step<'_>) {
        if self.touched {
            self.step(Input::TurnEnd, at);
            self.touched = false;
            self.deadline = self.engine.next_deadline();
        }
    }

    /// One step of the engine, and everything that it wants done.
    pub(super) fn step(&mut self, input: Input<'_>, at: &mut Step<'_>) {
        let batch: &[u8] = if let Input::Request { request, .. } = &input
            && let Request::Enqueue(enqueue) = request
        {
            enqueue.batch
        } else if let Input::Fetched { batch, .. } = &input {
            batch.unwrap_or_default()
        } else {
            &[]
        };
        // Outputs move out of the scratch so that executing them may use the rest of it.
        let mut outputs = std::mem::take(&mut at.scratch.outputs);
        self.engine.step(at.now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.execute(output, batch, at);
        }
        at.scratch.outputs = outputs;
        self.touched = true;
    }

    fn execute(&mut self, output: Output, batch: &[u8], at: &mut Step<'_>) {
        match output {
            Output::Append { lsn, time, record } => {
                let head = &mut at.scratch.head;
                head.clear();
                record.encode_head(head);
                let part = &mut at.scratch.part;
                let appended = self.log.append(NewRecord {
                    lsn,
                    time,
                    kind: record.kind(),
                    epoch: self.engine.epoch(),
                    head,
                    batch: if let Record::Relocate { first, count, .. } = record {
                        let part = self.relocation.part((first, count), batch, part);
                        at.counters.relocated_bytes_total += part.len() as u64;
                        part
                    } else if record.has_batch() {
                        batch
                    } else {
                        &[]
                    },
                });
                // P2: the engine learns of the poison in a step of its own.
                if let Err(poison) = appended {
                    tracing::debug!(partition = self.id.0, %poison, "record dropped");
                }
            }
            Output::Flush { end } => self.flush_to = self.flush_to.max(end),
            Output::Reply { to, reply } => self.reply(to, reply, at),
            Output::Deliver(delivery) => self.pending.push(delivery),
            Output::Load {
                queue,
                first,
                place,
            } => self.checkpoints.wanted.push((queue, first, place)),
            Output::Fetch { whose, lsn, first } => self.fetches(whose).push(lsn, first),
            Output::Letter(letter) => self.letters.push(*letter),
            Output::Abandon { to } => at.outlets.abandon(to.connection),
        }
    }

    fn reply(&mut self, to: Requester, reply: Reply, at: &mut Step<'_>) {
        let changes_demand = changes_demand(&reply);
        let response = response(reply);
        let code = response.code();
        // What was given out before the change may not be encoded yet, and must not follow it.
        if changes_demand && self.pending.has_for(to.connection) {
            self.pending.push_answer(to, response);
            return;
        }
        at.counters.requests_failed_total += u64::from(code != ErrorCode::Ok);
        let epoch = self.engine.epoch();
        at.outlets.answer(to, code, |out| {
            response.encode(to.correlation, epoch, out);
        });
    }
}

/// Whether the client takes the answer to mean that it gets less from now on.
fn changes_demand(reply: &Reply) -> bool {
    match reply {
        Reply::CreditSet | Reply::Unsubscribed | Reply::Refused { .. } => true,
        Reply::Receipt(_)
        | Reply::Empty
        | Reply::EmptyPeek
        | Reply::Subscribed
        | Reply::Settled(_)
        | Reply::QueueCreated { .. }
        | Reply::QueueList { .. }
        | Reply::Queue(_)
        | Reply::QueueDeleted
        | Reply::QueueConfigured { .. }
        | Reply::Schedule(_)
        | Reply::Subscription(_) => false,
    }
}

/// The engine's answer in the words of the protocol.
fn response(reply: Reply) -> Response<'static> {
    match reply {
        Reply::Receipt(receipt) => Response::Enqueued(receipt),
        Reply::Empty => Response::Dequeued(Deliveries::empty()),
        Reply::EmptyPeek => Response::Peeked(Deliveries::empty()),
        Reply::Subscribed => Response::Subscribed,
        Reply::CreditSet => Response::CreditSet,
        Reply::Unsubscribed => Response::Unsubscribed,
        Reply::Settled(settled) => Response::Settled(settled),
        Reply::QueueCreated { created } => Response::QueueCreated { created },
        Reply::QueueList { queues, more } => Response::QueueList { queues, more },
        Reply::Queue(info) => Response::Queue(*info),
        Reply::QueueDeleted => Response::QueueDeleted,
        Reply::QueueConfigured { created, config } => Response::QueueConfigured {
            created,
            config: *config,
        },
        Reply::Subscription(answer) => Response::Subscription(*answer),
        Reply::Schedule(answer) => Response::Schedule(*answer),
        Reply::Refused { code, text } => Response::Error { code, text },
    }
}
