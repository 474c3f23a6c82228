//! The client of a script: one connection, what it asked, what it holds, and what it was told.

use std::collections::{BTreeMap, VecDeque};

use corelane::driver::Socket;
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    BatchBuilder, Correlation, Decoder, Deliveries, Enqueue, ErrorCode, Frame, Hello, Lane,
    LeaseId, OutgoingMessage, ProducerId, Request, Response, Sequence, SessionId, Settle,
    SettleEntries, SettleEntry, SettleOutcome, Settled,
};

use super::harm::{Verdict, wrong};
use super::setup::{QUEUES, SUBSCRIPTIONS};
use crate::sim::body;
use crate::sim::checker::{Body, Token, Verb};

/// A subscription: indices of a queue and a name.
pub(super) type Of = (usize, usize);

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// These messages are in the queue, from this offset on.
    Enqueued {
        queue: usize,
        first: u64,
        tokens: Vec<Token>,
    },
    /// A settlement of one message took effect.
    Settled {
        of: Of,
        verb: Verb,
        lease: LeaseId,
        offset: u64,
    },
    /// The queue was created by this request.
    Created { queue: usize },
    /// The queue was deleted.
    Deleted { queue: usize },
    /// A message was given out.
    Given {
        of: Of,
        lease: LeaseId,
        attempt: u32,
        offset: u64,
        body: Body,
    },
    /// A message was looked at.
    Peeked {
        queue: usize,
        offset: u64,
        body: Body,
    },
    /// A request was refused, or the node hung up.
    Refused { code: ErrorCode },
}

/// What an answer is awaited for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Enqueue {
        queue: usize,
        tokens: Vec<Token>,
    },
    Dequeue(Of),
    Settle {
        of: Of,
        verb: Verb,
        entry: SettleEntry,
    },
    Create {
        queue: usize,
    },
    Delete {
        queue: usize,
    },
    Peek {
        queue: usize,
    },
    /// The answer says nothing about messages.
    Other,
}

/// Messages under one lease that are not settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) of: Of,
    pub(super) entry: SettleEntry,
}

/// One connection.
pub(super) struct Client {
    pub(super) socket: Socket,
    pub(super) outgoing: Vec<u8>,
    pub(super) held: VecDeque<Held>,
    /// Every consumer that the connection has asked for.
    pub(super) consumers: BTreeMap<u32, Of>,
    /// What was learnt and not taken yet.
    pub(super) facts: Vec<Fact>,
    /// The node has hung up.
    pub(super) is_over: bool,
    decoder: Decoder,
    correlation: u64,
    pending: BTreeMap<u64, Asked>,
}

impl Client {
    /// A client that greets with its first bytes.
    pub(super) fn new(socket: Socket) -> Self {
        let mut client = Self {
            socket,
            outgoing: Vec::new(),
            held: VecDeque::new(),
            consumers: BTreeMap::new(),
            facts: Vec::new(),
            is_over: false,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            correlation: 0,
            pending: BTreeMap::new(),
        };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session: SessionId::NONE,
            resume: false,
            client_name: "crash",
            tenant: "",
            token: &[],
        };
        client.ask(&Request::Hello(hello), Asked::Other);
        client
    }

    /// Puts a request into what is sent next.
    pub(super) fn ask(&mut self, request: &Request<'_>, asked: Asked) {
        self.correlation += 1;
        request.encode(Correlation(self.correlation), &mut self.outgoing);
        self.pending.insert(self.correlation, asked);
    }

    /// Whether an answer is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Asks for messages to be taken, with bodies that prove what they are.
    pub(super) fn enqueue(
        &mut self,
        queue: usize,
        messages: &[(Token, usize)],
        (producer, sequence): (ProducerId, Sequence),
    ) {
        let mut batch = BatchBuilder::new();
        for (token, bytes) in messages {
            let body = body::make(*token, *bytes);
            let message = OutgoingMessage {
                body: &body,
                ..OutgoingMessage::default()
            };
            batch.push(&message).expect("the message is small");
        }
        let batch = batch.finish(producer, sequence);
        let request = Request::Enqueue(Enqueue {
            queue: QUEUES[queue],
            lane: Lane(0),
            batch: &batch,
        });
        let tokens = messages.iter().map(|(token, _)| *token).collect();
        self.ask(&request, Asked::Enqueue { queue, tokens });
    }

    /// Asks for a settlement of what is held.
    pub(super) fn settle(
        &mut self,
        held: Held,
        verb: Verb,
        request: impl for<'a> FnOnce(Settle<'a>) -> Request<'a>,
    ) {
        let mut entries = Vec::new();
        held.entry.put(&mut entries);
        let settle = Settle {
            queue: QUEUES[held.of.0],
            lane: Lane(0),
            subscription: SUBSCRIPTIONS[held.of.1],
            entries: SettleEntries::read(&entries).expect("one entry, as it was put"),
        };
        let asked = Asked::Settle {
            of: held.of,
            verb,
            entry: held.entry,
        };
        self.ask(&request(settle), asked);
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Verdict {
        let mut rest = bytes;
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(FRAME_BYTES_MAX));
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(frame)) => self.on_frame(&frame)?,
                Ok(None) => break,
                Err(error) => return wrong(format!("a frame: {error}")),
            }
        }
        self.decoder = decoder;
        Ok(())
    }

    fn on_frame(&mut self, frame: &Frame<'_>) -> Verdict {
        let response = match Response::decode(frame) {
            Ok(response) => response,
            Err(error) => return wrong(format!("an answer: {error}")),
        };
        if let Response::Delivery {
            consumer,
            deliveries,
        } = &response
        {
            let Some(of) = self.consumers.get(&consumer.0).copied() else {
                return wrong(format!("a delivery to consumer {consumer}"));
            };
            return self.on_given(of, deliveries);
        }
        if let Response::Fault { code, .. } = response {
            self.facts.push(Fact::Refused { code });
            self.pending.clear();
            self.is_over = true;
            return Ok(());
        }
        let Some(asked) = self.pending.remove(&frame.correlation.0) else {
            return wrong(format!("nobody asked for {response:?}"));
        };
        self.on_answer(asked, &response)
    }

    fn on_answer(&mut self, asked: Asked, response: &Response<'_>) -> Verdict {
        if let Response::Error { code, .. } = response {
            self.facts.push(Fact::Refused { code: *code });
            return Ok(());
        }
        match (asked, response) {
            (Asked::Enqueue { queue, tokens }, Response::Enqueued(receipt)) => {
                if receipt.range.count as usize != tokens.len() {
                    return wrong(format!("{} messages sent: {receipt:?}", tokens.len()));
                }
                let first = receipt.range.first.0;
                self.facts.push(Fact::Enqueued {
                    queue,
                    first,
                    tokens,
                });
            }
            (Asked::Dequeue(of), Response::Dequeued(deliveries)) => {
                return self.on_given(of, deliveries);
            }
            (Asked::Settle { of, verb, entry }, Response::Settled(settled)) => {
                self.on_settled((of, verb, entry.lease), settled);
            }
            (Asked::Create { queue }, Response::QueueCreated { created }) => {
                let fact = Fact::Created { queue };
                self.facts.extend(created.then_some(fact));
            }
            (Asked::Delete { queue }, Response::QueueDeleted) => {
                self.held.retain(|held| held.of.0 != queue);
                self.facts.push(Fact::Deleted { queue });
            }
            (Asked::Peek { queue }, Response::Peeked(deliveries)) => {
                for (_, offset, body) in messages(deliveries)? {
                    self.facts.push(Fact::Peeked {
                        queue,
                        offset,
                        body,
                    });
                }
            }
            (Asked::Other, _) => {}
            (asked, response) => return wrong(format!("{response:?} answers {asked:?}")),
        }
        Ok(())
    }

    fn on_given(&mut self, of: Of, deliveries: &Deliveries<'_>) -> Verdict {
        let lease = deliveries.lease;
        for (attempt, offset, body) in messages(deliveries)? {
            self.facts.push(Fact::Given {
                of,
                lease,
                attempt,
                offset,
                body,
            });
        }
        for run in &deliveries.runs {
            let range = corelane_wire::OffsetRange {
                first: run.first,
                count: run.count,
            };
            let entry = SettleEntry { lease, range };
            self.held.push_back(Held { of, entry });
        }
        Ok(())
    }

    fn on_settled(&mut self, (of, verb, lease): (Of, Verb, LeaseId), settled: &[Settled]) {
        let done = settled
            .iter()
            .filter(|settled| settled.outcome == SettleOutcome::Done);
        for range in done.map(|settled| settled.range) {
            let offsets = range.first.0..range.end().0;
            self.facts.extend(offsets.map(|offset| Fact::Settled {
                of,
                verb,
                lease,
                offset,
            }));
        }
    }
}

/// Attempt, offset and body of each message.
fn messages(deliveries: &Deliveries<'_>) -> Verdict<Vec<(u32, u64, Body)>> {
    let mut found = Vec::new();
    for item in deliveries {
        match item {
            Ok(item) => {
                let body = body::judge(&item.message);
                found.push((item.attempt, item.offset.0, body));
            }
            Err(error) => return wrong(format!("a delivery: {error}")),
        }
    }
    Ok(found)
}
