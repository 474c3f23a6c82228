//! Requests on their way to a partition: from this shard's connections, or by mail from others.
//!
//! Invariant: (Y1) a request makes at most one hop: the shard that gets one by mail hosts its
//! partition.

use corelane_core::{ConnectionId, Input, Requester, only_looks};
use corelane_wire::{ErrorCode, Frame, PartitionId, Request, Response};

use super::memory::is_for_memory;
use super::partition::Hosted;
use super::state::State;
use crate::connection::{Connection, Purpose, Unanswered};
use crate::mail::Mail;

/// Why a request goes to no partition.
struct Refusal(ErrorCode, String);

impl State {
    /// A whole frame arrived on a connection.
    pub(super) fn on_frame(&mut self, id: ConnectionId, frame: &Frame<'_>) {
        let Some(connection) = self.outlets.connections.get(id) else {
            return;
        };
        if !connection.is_open() {
            self.on_greeting(id, frame);
            return;
        }
        self.counters.requests_total += 1;
        let correlation = frame.correlation;
        if connection.awaits(correlation) {
            let text = format!("request {correlation} has no answer yet");
            self.say_error(id, correlation, ErrorCode::CorrelationInUse, &text);
            return;
        }
        match Request::decode(frame) {
            Err(error) => self.say_error(id, correlation, error.code(), &error.to_string()),
            Ok(Request::Hello(_)) => {
                let text = "the connection was greeted before";
                self.say_error(id, correlation, ErrorCode::HelloRepeated, text);
            }
            Ok(Request::Ping) => self.say(id, correlation, &Response::Pong),
            Ok(Request::Metadata) => {
                let metadata = self.topology.metadata();
                self.say(id, correlation, &Response::Metadata(metadata));
            }
            Ok(request) => {
                if let Err(Refusal(code, text)) = self.route(id, frame, request) {
                    self.say_error(id, correlation, code, &text);
                }
            }
        }
    }

    /// Sends a request to its partition, here or with one hop.
    fn route(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        request: Request<'_>,
    ) -> Result<(), Refusal> {
        if self.stopping.is_some() {
            return Err(shutting_down());
        }
        let Some(connection) = self.outlets.connections.get(id) else {
            return Ok(());
        };
        let unanswered = self.destination(connection, &request)?;
        let from = Requester {
            connection: id,
            session: connection.session,
            correlation: frame.correlation,
        };
        let shard = self.topology.shard_of(unanswered.partition);
        let is_here = shard == self.outlets.shard;
        if !is_here && self.outlets.mail.is_full(shard) {
            let text = format!("the mailbox to partition {} is full", unanswered.partition);
            return Err(Refusal(ErrorCode::Busy, text));
        }
        if let Some(connection) = self.outlets.connections.get_mut(id) {
            connection.asked(frame.correlation, unanswered);
        }
        if is_here {
            self.serve(unanswered.partition, from, request);
        } else {
            self.counters.requests_forwarded_total += 1;
            let partition = unanswered.partition;
            self.outlets.mail.to(shard).push_with(
                |out| out.extend_from_slice(frame.bytes),
                |bytes| Mail::Request {
                    from,
                    partition,
                    bytes,
                },
            );
        }
        Ok(())
    }

    /// Which partition must answer, and what the answer will mean to the connection.
    fn destination(
        &self,
        connection: &Connection,
        request: &Request<'_>,
    ) -> Result<Unanswered, Refusal> {
        let partition = self.partition_of(connection, request)?;
        let purpose = match request {
            Request::Dequeue(_) => Purpose::Dequeue,
            Request::Unsubscribe { consumer } => Purpose::Unsubscribe(*consumer),
            Request::Subscribe(subscribe) => {
                let consumer = subscribe.consumer;
                match connection.partition_of(consumer) {
                    // Its partition knows that it exists; others do not.
                    Some(other) if other != partition => {
                        let text = format!("consumer {consumer} exists in another partition");
                        return Err(Refusal(ErrorCode::ConsumerExists, text));
                    }
                    None if connection.has_all_consumers() => {
                        let text = String::from("the connection has 1,024 consumers");
                        return Err(Refusal(ErrorCode::LimitExceeded, text));
                    }
                    Some(_) | None => Purpose::Subscribe(consumer),
                }
            }
            Request::Hello(_)
            | Request::Ping
            | Request::Metadata
            | Request::Enqueue(_)
            | Request::Credit { .. }
            | Request::Ack(_)
            | Request::Nack(_)
            | Request::Reject(_)
            | Request::Extend(_)
            | Request::Peek(_)
            | Request::QueueCreate { .. }
            | Request::QueueList(_)
            | Request::QueueShow { .. }
            | Request::QueueDelete { .. }
            | Request::QueueConfigure { .. }
            | Request::Schedule(_)
            | Request::Subscription(_) => Purpose::Plain,
        };
        Ok(Unanswered { partition, purpose })
    }

    fn partition_of(
        &self,
        connection: &Connection,
        request: &Request<'_>,
    ) -> Result<PartitionId, Refusal> {
        if let Some((queue, lane)) = request.queue() {
            return Ok(self.topology.partition_of(queue, lane));
        }
        match request {
            Request::Credit { consumer, .. } | Request::Unsubscribe { consumer } => {
                connection.partition_of(*consumer).ok_or_else(|| {
                    let text = format!("this connection has no consumer {consumer}");
                    Refusal(ErrorCode::UnknownConsumer, text)
                })
            }
            Request::QueueList(list) if self.topology.has(list.partition) => Ok(list.partition),
            Request::QueueList(list) => {
                let text = format!("there is no partition {}", list.partition);
                Err(Refusal(ErrorCode::OutOfRange, text))
            }
            Request::Hello(_)
            | Request::Ping
            | Request::Metadata
            | Request::Enqueue(_)
            | Request::Dequeue(_)
            | Request::Subscribe(_)
            | Request::Ack(_)
            | Request::Nack(_)
            | Request::Reject(_)
            | Request::Extend(_)
            | Request::Peek(_)
            | Request::QueueCreate { .. }
            | Request::QueueShow { .. }
            | Request::QueueDelete { .. }
            | Request::QueueConfigure { .. }
            | Request::Schedule(_)
            | Request::Subscription(_) => {
                let text = String::from("no partition answers this request");
                Err(Refusal(ErrorCode::Internal, text))
            }
        }
    }

    /// Steps a partition of this shard with a request (Y1).
    pub(super) fn serve(&mut self, partition: PartitionId, from: Requester, request: Request<'_>) {
        let slot = self.lead(self.topology.slot_of(partition), from, &request);
        let refusal = match &self.partitions[slot] {
            Hosted::Damaged(reason) => Some(Refusal(ErrorCode::Damaged, reason.clone())),
            Hosted::Serving(_) if self.stopping.is_some() => Some(shutting_down()),
            Hosted::Serving(_) if self.volatile.is_none() && is_for_memory(&request) => {
                let text = String::from("this broker keeps no messages in memory only");
                Some(Refusal(ErrorCode::NotSupported, text))
            }
            Hosted::Serving(hosted) if let Some(reason) = &hosted.read_only => {
                let refused = Refusal(ErrorCode::Damaged, reason.clone());
                (!only_looks(&request)).then_some(refused)
            }
            Hosted::Serving(hosted) => {
                let is_growing = grows(&request);
                // Settling must go on while the disk is full: it is what makes room.
                let is_full = is_growing
                    && self.spares_for(hosted.is_volatile).is_full()
                    && hosted.lacks_segment();
                is_full.then(|| {
                    let text = format!("no room on disk for a segment of partition {partition}");
                    Refusal(ErrorCode::DiskFull, text)
                })
            }
        };
        if let Some(Refusal(code, text)) = refusal {
            self.counters.requests_refused_total += 1;
            let epoch = self.epoch;
            self.outlets.refuse(from, epoch, code, &text);
            return;
        }
        self.counters.enqueues_total += u64::from(matches!(request, Request::Enqueue(_)));
        self.step(slot, Input::Request { from, request });
        if let Request::QueueDelete { queue } = request {
            self.forget_memory_queue(slot, queue);
        }
    }

    /// Mail from another shard.
    pub(super) fn on_mail(&mut self, mail: Mail, bytes: &[u8]) {
        match mail {
            Mail::Request {
                from, partition, ..
            } => self.on_forwarded(partition, from, bytes),
            Mail::Answer {
                to,
                correlation,
                code,
                ..
            } => self.outlets.answer_local(to, correlation, code, |out| {
                out.extend_from_slice(bytes);
            }),
            Mail::Delivery { to, .. } => {
                self.outlets.push(to, |out| out.extend_from_slice(bytes));
            }
            Mail::Abandon { connection } => self.outlets.abandon(connection),
            Mail::Disconnected { connection } => self.on_disconnected(connection),
            Mail::SessionOpened { session } => self.on_session_opened(session),
            Mail::SessionClosed { session } => self.on_session_closed(session),
            Mail::AskRoom { connection, shard } => self.outlets.asked_for_room(connection, shard),
            Mail::Room { connection } => self.on_room(connection),
            Mail::RoomUsed { connection, shard } => self.outlets.room_used(connection, shard),
        }
    }

    /// A frame that another shard has checked and decoded once.
    fn on_forwarded(&mut self, partition: PartitionId, from: Requester, bytes: &[u8]) {
        let frame = Frame::trusted(bytes).expect("a forwarded frame was whole when it left");
        let request = Request::decode(&frame).expect("a forwarded request was decoded before");
        self.serve(partition, from, request);
    }
}

/// Whether a request adds to what is kept.
const fn grows(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Enqueue(_)
            | Request::QueueCreate { .. }
            | Request::QueueConfigure {
                config: Some(_),
                ..
            }
    )
}

fn shutting_down() -> Refusal {
    let text = String::from("the broker shuts down");
    Refusal(ErrorCode::ShuttingDown, text)
}
