//! A client that puts frames together and takes them apart, and accepts no answer but the one it wants.

use std::collections::VecDeque;

use corelane::driver::Socket;
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    BatchBuilder, ConsumerId, Correlation, Decoder, Enqueue, Frame, Hello, Lane, LeaseId, Offset,
    OffsetRange, OutgoingMessage, ProducerId, Request, Response, Sequence, SessionId, Settle,
    SettleEntries, SettleEntry, SettleOutcome, Subscribe,
};

use super::node::{Node, Placement};

/// Bytes of a body.
const BODY: [u8; 256] = [0xA5; 256];
const LEASE_MS: u32 = 3_600_000;

/// Messages that were delivered under one lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    lease: LeaseId,
    range: OffsetRange,
}

/// One connection.
pub(super) struct Client {
    shard: usize,
    socket: Socket,
    decoder: Decoder,
    outgoing: Vec<u8>,
    correlation: u64,
    /// How many messages were confirmed.
    pub(super) enqueued: u64,
    /// How many were delivered.
    pub(super) delivered: u64,
    /// How many were acked.
    pub(super) acked: u64,
    /// What was delivered and not given to an ack.
    held: VecDeque<Held>,
}

impl Client {
    /// Connects and greets.
    pub(super) fn connect(node: &mut Node, placement: Placement) -> Self {
        let shard = placement.shard();
        let mut client = Self {
            shard,
            socket: node.connect(shard),
            decoder: Decoder::new(FRAME_BYTES_MAX),
            outgoing: Vec::new(),
            correlation: 0,
            enqueued: 0,
            delivered: 0,
            acked: 0,
            held: VecDeque::new(),
        };
        client.request(&Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session: SessionId::NONE,
            resume: false,
            client_name: "steady",
            tenant: "",
            token: &[],
        }));
        client.flush(node);
        node.rest();
        client.read(node);
        client
    }

    /// Puts an enqueue of so many messages into the next flush.
    pub(super) fn enqueue(&mut self, queue: &str, sequence: u64, messages: u64) {
        let mut batch = BatchBuilder::new();
        for _ in 0..messages {
            let message = OutgoingMessage {
                body: &BODY,
                ..OutgoingMessage::default()
            };
            batch.push(&message).expect("the message is small");
        }
        let batch = batch.finish(ProducerId(7), Sequence(sequence));
        self.request(&Request::Enqueue(Enqueue {
            queue,
            lane: Lane(0),
            batch: &batch,
        }));
    }

    /// Puts a subscribe into the next flush.
    pub(super) fn subscribe(&mut self, queue: &str, consumer: u32, credit: u32) {
        self.request(&Request::Subscribe(Subscribe {
            queue,
            lane: Lane(0),
            subscription: "",
            consumer: ConsumerId(consumer),
            credit,
            lease_ms: LEASE_MS,
        }));
    }

    /// Puts an ack of what is held into the next flush, of so many messages at most; tells how many.
    pub(super) fn ack(&mut self, queue: &str, messages_max: u64) -> u64 {
        let Some(held) = self.held.front_mut() else {
            return 0;
        };
        let messages_max = u32::try_from(messages_max).unwrap_or(u32::MAX);
        let count = held.range.count.min(messages_max);
        let first = held.range.first;
        let mut entry = Vec::new();
        SettleEntry {
            lease: held.lease,
            range: OffsetRange { first, count },
        }
        .put(&mut entry);
        held.range = OffsetRange {
            first: Offset(first.0 + u64::from(count)),
            count: held.range.count - count,
        };
        if held.range.count == 0 {
            self.held.pop_front();
        }
        self.request(&Request::Ack(Settle {
            queue,
            lane: Lane(0),
            subscription: "",
            entries: SettleEntries::read(&entry).expect("one entry, as it was put"),
        }));
        u64::from(count)
    }

    /// Sends what was put together.
    pub(super) fn flush(&mut self, node: &mut Node) {
        node.driver(self.shard).put(self.socket, &self.outgoing);
        self.outgoing.clear();
    }

    /// Reads what has arrived.
    ///
    /// # Panics
    /// If anything was refused, or is not what was asked for.
    pub(super) fn read(&mut self, node: &mut Node) {
        let bytes = node.driver(self.shard).take(self.socket);
        let mut rest = bytes.as_slice();
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(FRAME_BYTES_MAX));
        while let Some(frame) = decoder.next(&mut rest).expect("frames are whole") {
            let (frame, _) = Frame::read(frame.bytes, FRAME_BYTES_MAX)
                .expect("it was read before")
                .expect("it is whole");
            self.take(Response::decode(&frame).expect("answers are whole"));
        }
        self.decoder = decoder;
    }

    fn take(&mut self, response: Response<'_>) {
        match response {
            Response::Hello(_) | Response::Subscribed => {}
            Response::Enqueued(receipt) if !receipt.duplicate => {
                self.enqueued += u64::from(receipt.range.count);
            }
            Response::Settled(settled) => {
                for one in settled {
                    assert_eq!(one.outcome, SettleOutcome::Done);
                    self.acked += u64::from(one.range.count);
                }
            }
            Response::Delivery { deliveries, .. } => {
                for run in &deliveries.runs {
                    assert_eq!(run.attempt, 1);
                    self.delivered += u64::from(run.count);
                    self.hold(deliveries.lease, run.first, run.count);
                }
            }
            other @ (Response::Enqueued(_)
            | Response::Pong
            | Response::Metadata(_)
            | Response::Dequeued(_)
            | Response::CreditSet
            | Response::Unsubscribed
            | Response::Peeked(_)
            | Response::QueueCreated { .. }
            | Response::QueueList { .. }
            | Response::Queue(_)
            | Response::QueueDeleted
            | Response::QueueConfigured { .. }
            | Response::Schedule(_)
            | Response::Subscription(_)
            | Response::Error { .. }
            | Response::Fault { .. }) => panic!("not what was asked for: {other:?}"),
        }
    }

    /// Runs of one lease that follow each other are held as one.
    fn hold(&mut self, lease: LeaseId, first: Offset, count: u32) {
        if let Some(last) = self.held.back_mut()
            && last.lease == lease
            && last.range.first.0 + u64::from(last.range.count) == first.0
        {
            last.range.count += count;
        } else {
            let range = OffsetRange { first, count };
            self.held.push_back(Held { lease, range });
        }
    }

    fn request(&mut self, request: &Request<'_>) {
        self.correlation += 1;
        request.encode(Correlation(self.correlation), &mut self.outgoing);
    }
}
