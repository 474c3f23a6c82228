//! A broker made of scripted bytes, for tests of the sans-I/O core.

use std::time::Duration;

use corelane_wire::{
    Batch, Correlation, DeliveryHead, DeliveryKind, DeliveryRun, Epoch, ErrorCode, Frame,
    HelloAnswer, LeaseId, Lsn, NodeId, Offset, OffsetRange, ProducerId, Receipt, Request, Response,
    Sequence, SessionId, Timestamp, limits::FRAME_BYTES_MAX,
};

use super::{Event, Protocol, ProtocolConfig, ProtocolError};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const EPOCH: Epoch = Epoch(7);

/// The start of the tests' time.
pub(crate) const START: Timestamp = Timestamp(1_000_000_000_000);

/// One request that the client sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) call: Correlation,
    pub(crate) bytes: Vec<u8>,
}

/// What is of interest in an enqueue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SentBatch {
    pub(crate) call: Correlation,
    pub(crate) producer: ProducerId,
    pub(crate) sequence: Sequence,
    pub(crate) bodies: Vec<String>,
}

impl Sent {
    pub(crate) fn request(&self) -> Request<'_> {
        let (frame, _) = Frame::read(&self.bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        // The frame borrows from the bytes, not from this function.
        Request::decode(&frame).unwrap()
    }

    pub(crate) fn batch(&self) -> SentBatch {
        let Request::Enqueue(enqueue) = self.request() else {
            panic!("not an enqueue: {self:?}");
        };
        let batch = Batch::read(enqueue.batch).unwrap();
        let bodies = batch
            .iter()
            .map(|message| String::from_utf8(message.unwrap().body.to_vec()).unwrap());
        SentBatch {
            call: self.call,
            producer: batch.producer,
            sequence: batch.sequence,
            bodies: bodies.collect(),
        }
    }
}

/// Takes the requests that the client wants to send.
pub(crate) fn sent(protocol: &mut Protocol) -> Vec<Sent> {
    let bytes = protocol.take_outgoing();
    let mut rest = bytes.as_slice();
    let mut sent = Vec::new();
    while !rest.is_empty() {
        let (frame, used) = Frame::read(rest, FRAME_BYTES_MAX).unwrap().unwrap();
        sent.push(Sent {
            call: frame.correlation,
            bytes: rest[..used].to_vec(),
        });
        rest = &rest[used..];
    }
    sent
}

/// The bytes of an answer.
pub(crate) fn answer(call: Correlation, response: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(call, EPOCH, &mut out);
    out
}

pub(crate) fn refusal(code: ErrorCode) -> Response<'static> {
    Response::Error {
        code,
        text: "scripted".to_owned(),
    }
}

pub(crate) fn receipt(first: u64, count: u32) -> Response<'static> {
    Response::Enqueued(Receipt {
        range: OffsetRange {
            first: Offset(first),
            count,
        },
        class: 0,
        copies: 1,
        duplicate: false,
        slow_down: false,
    })
}

pub(crate) fn hello_answer() -> Response<'static> {
    Response::Hello(HelloAnswer {
        version: 1,
        features: 0,
        session: SessionId(99),
        resumed: false,
        node: NodeId(1),
        server_name: "scripted".to_owned(),
        frame_bytes_max: 1 << 20,
        in_flight_max: 1_024,
    })
}

/// A connection that is greeted.
pub(crate) fn open(now: Timestamp) -> Protocol {
    let mut protocol = Protocol::new(ProtocolConfig::default(), now, SessionId::NONE);
    let hello = sent(&mut protocol);
    feed(&mut protocol, now, &answer(hello[0].call, &hello_answer())).unwrap();
    assert!(protocol.is_open());
    protocol
}

/// Hands bytes to the connection and describes the events.
pub(crate) fn feed(
    protocol: &mut Protocol,
    now: Timestamp,
    mut bytes: &[u8],
) -> Result<Vec<String>, ProtocolError> {
    let mut events = Vec::new();
    while let Some(event) = protocol.next_event(now, &mut bytes)? {
        events.push(match event {
            Event::Open(answer) => format!("open {:?}", answer.session.0),
            Event::Answer {
                correlation,
                response,
                ..
            } => format!("answer {correlation} kind {:#04x}", response.kind()),
            Event::Delivery {
                consumer,
                deliveries,
                ..
            } => format!("delivery {consumer} of {}", deliveries.count()),
            Event::Settled => "settled".to_owned(),
        });
    }
    Ok(events)
}

/// A delivery of messages with consecutive offsets in one run.
pub(crate) fn delivery(
    kind: DeliveryKind,
    call: Correlation,
    lease: u64,
    first: u64,
    bodies: &[&str],
) -> Vec<u8> {
    delivery_under(lease_id(lease), (kind, call), first, bodies)
}

/// The same under any lease, or none.
pub(crate) fn delivery_under(
    lease: LeaseId,
    (kind, call): (DeliveryKind, Correlation),
    first: u64,
    bodies: &[&str],
) -> Vec<u8> {
    let mut builder = corelane_wire::BatchBuilder::new();
    for body in bodies {
        let message = corelane_wire::OutgoingMessage {
            body: body.as_bytes(),
            ..Default::default()
        };
        builder.push(&message).unwrap();
    }
    let batch = builder.finish(ProducerId::NONE, Sequence(0));
    let entries = Batch::read(&batch).unwrap().entries;
    let runs = [DeliveryRun {
        first: Offset(first),
        count: u32::try_from(bodies.len()).unwrap(),
        attempt: 1,
        enqueued: START,
    }];
    let head = DeliveryHead {
        kind,
        lease,
        lease_ms: 30_000,
        runs: &runs,
    };
    let mut out = Vec::new();
    head.encode(call, EPOCH, &[entries], &mut out);
    out
}

pub(crate) fn lease_id(lsn: u64) -> LeaseId {
    LeaseId {
        epoch: EPOCH,
        lsn: Lsn(lsn),
    }
}
