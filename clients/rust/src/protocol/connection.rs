//! One connection to a broker without a socket: bytes in, events and bytes out.
//!
//! Owns: the greeting, correlation numbers, what is out and until when, and whether the peer is still alive.
//! Called by: the link task of the tokio face, and by simulated clients; both pass the time in.
//!
//! Use: make it with [`Protocol::new`] when the socket is open; hand every chunk that arrives to
//! [`Protocol::next_event`] until it returns `None`; call [`Protocol::on_deadline`] when [`Protocol::next_deadline`]
//! has come; write [`Protocol::outgoing`] and say with [`Protocol::sent`] how much was written.
//!
//! Invariants:
//! (P1) A correlation number is used once per connection, and every call that is out has exactly one entry.
//! (P2) After an error the connection stays in error; bytes from the broker never panic.
//! (P3) The outgoing bytes and the calls that are out are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    ConsumerId, Correlation, Decoder, Deliveries, Epoch, Frame, Hello, HelloAnswer, Request,
    Response, SessionId, Timestamp, kind,
};

use super::error::{NoRoom, ProtocolError};

/// Who the client is and how patient it is; the same for all its connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtocolConfig {
    /// Name of the client in the broker's logs and lists; at most 256 bytes.
    pub client_name: String,
    /// Namespace of the queues; empty for the default one.
    pub tenant: String,
    /// Proof of who the client is; empty for none.
    pub token: Vec<u8>,
    /// Greatest number of calls that are out at once on one connection.
    pub calls_max: usize,
    /// How long the greeting may take.
    pub hello_timeout: Duration,
    /// After how long a silence the peer is asked for a sign of life.
    pub ping_after: Duration,
    /// How long that sign may take before the connection counts as dead.
    pub ping_timeout: Duration,
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        Self {
            client_name: "corelane-client".to_owned(),
            tenant: String::new(),
            token: Vec::new(),
            calls_max: 512,
            hello_timeout: Duration::from_secs(5),
            ping_after: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
        }
    }
}

/// What the broker's bytes meant.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The greeting is over; requests may be sent.
    Open(HelloAnswer),
    /// A call was answered, with success or a refusal ([`Response::Error`]).
    Answer {
        /// The call.
        correlation: Correlation,
        /// Epoch of the partition that answered; the node's own when no partition was asked.
        epoch: Epoch,
        /// The answer.
        response: Response<'a>,
    },
    /// Messages for a subscribed consumer.
    Delivery {
        /// Whom they are for.
        consumer: ConsumerId,
        /// Epoch of the partition that sent them.
        epoch: Epoch,
        /// The messages and their lease.
        deliveries: Deliveries<'a>,
    },
    /// An answer that nobody waits for any more, or a sign of life: nothing to do.
    Settled,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Protocol {
    config: ProtocolConfig,
    state: State,
    decoder: Decoder,
    outgoing: Vec<u8>,
    outgoing_start: usize,
    calls: BTreeMap<Correlation, Call>,
    deadlines: BTreeSet<(Timestamp, Correlation)>,
    correlation_next: Correlation,
    calls_max: usize,
    heard: Timestamp,
    /// Until when the peer owes a sign of life.
    life_due: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    Greeting { deadline: Timestamp },
    Open,
    Failed(ProtocolError),
}

#[derive(Debug)]
struct Call {
    kind: u8,
    deadline: Option<Timestamp>,
    waiter: Waiter,
}

/// Who is told of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiter {
    Greeting,
    Caller,
    Nobody,
}

impl Protocol {
    /// Starts a connection that has just been opened: the greeting lies in [`Protocol::outgoing`].
    ///
    /// `session` is the one to resume, or [`SessionId::NONE`] for a new one.
    pub fn new(config: ProtocolConfig, now: Timestamp, session: SessionId) -> Self {
        let mut protocol = Self {
            state: State::Greeting {
                deadline: now.add(config.hello_timeout),
            },
            decoder: Decoder::new(FRAME_BYTES_MAX),
            outgoing: Vec::new(),
            outgoing_start: 0,
            calls: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            correlation_next: Correlation(1),
            calls_max: config.calls_max.max(1),
            heard: now,
            life_due: None,
            config,
        };
        protocol.greet(session);
        protocol
    }

    /// Whether the greeting is over and nothing has failed.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// How many calls are out.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The number that the next call will get; they count up, so that a shell can tell whose calls are whose.
    pub const fn correlation_next(&self) -> Correlation {
        self.correlation_next
    }

    /// Whether a request would be taken now.
    pub fn has_room(&self) -> bool {
        self.is_open()
            && self.calls.len() < self.calls_max
            && self.outgoing().len() < OUTGOING_BYTES_MAX
    }

    /// Encodes a request; its answer or expiry will name the correlation number returned.
    ///
    /// # Errors
    /// [`NoRoom`] when the connection is not open, or too much is out: try again after the next event.
    pub fn request(
        &mut self,
        request: &Request<'_>,
        deadline: Option<Timestamp>,
    ) -> Result<Correlation, NoRoom> {
        if self.has_room() {
            Ok(self.put(request, deadline, Waiter::Caller))
        } else {
            Err(NoRoom)
        }
    }

    /// Takes the next event out of `chunk`, moving it past what was used; `None` means that all of it was used.
    ///
    /// # Errors
    /// The connection must be closed; every later call returns the same error.
    pub fn next_event<'s, 'c: 's>(
        &'s mut self,
        now: Timestamp,
        chunk: &mut &'c [u8],
    ) -> Result<Option<Event<'s>>, ProtocolError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        if !chunk.is_empty() {
            // Any byte is a sign of life: the answer to a ping may stand behind a long delivery.
            self.heard = now;
            self.life_due = None;
        }
        let Self {
            state,
            decoder,
            calls,
            deadlines,
            calls_max,
            ..
        } = self;
        let event = match decoder.next(chunk) {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => read(&frame, calls, deadlines),
            Err(error) => Err(ProtocolError::Frame(error)),
        };
        match event {
            Ok(event) => {
                if let Event::Open(answer) = &event {
                    let broker_calls_max = usize::try_from(answer.in_flight_max).unwrap_or(1);
                    *calls_max = (*calls_max).min(broker_calls_max.max(1));
                    *state = State::Open;
                }
                Ok(Some(event))
            }
            Err(error) => {
                *state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// The broker closed the connection: says whether that is the whole story.
    pub fn on_closed(&mut self) -> ProtocolError {
        if let State::Failed(error) = &self.state {
            return error.clone();
        }
        self.fail(ProtocolError::Closed {
            bytes_cut: self.decoder.pending_bytes(),
        })
    }

    /// Lets time pass: calls whose deadline has come are added to `expired`; their answers will be ignored, but for
    /// those of dequeues, which are still told: the messages in them are leased, and should be given back.
    ///
    /// # Errors
    /// The connection must be closed: the greeting took too long, or the peer gives no sign of life.
    pub fn on_deadline(
        &mut self,
        now: Timestamp,
        expired: &mut Vec<Correlation>,
    ) -> Result<(), ProtocolError> {
        match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Greeting { deadline } if *deadline <= now => {
                return Err(self.fail(ProtocolError::GreetingTimeout));
            }
            State::Greeting { .. } | State::Open => {}
        }
        while let Some((deadline, correlation)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(call) = self.calls.get_mut(&correlation) {
                call.deadline = None;
                if call.kind != kind::DEQUEUE {
                    call.waiter = Waiter::Nobody;
                }
                expired.push(correlation);
            }
        }
        self.check_life(now)
    }

    /// When [`Protocol::on_deadline`] must be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let call = self.deadlines.first().map(|(deadline, _)| *deadline);
        let life = match (&self.state, self.life_due) {
            (State::Failed(_), _) => return None,
            (State::Greeting { deadline }, _) => *deadline,
            (State::Open, Some(due)) => due,
            (State::Open, None) => self.heard.add(self.config.ping_after),
        };
        Some(call.map_or(life, |call| call.min(life)))
    }

    /// The bytes that wait to be written to the socket.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.outgoing_start..).unwrap_or_default()
    }

    /// The first `bytes` of [`Protocol::outgoing`] were written.
    pub fn sent(&mut self, bytes: usize) {
        self.outgoing_start = (self.outgoing_start + bytes).min(self.outgoing.len());
        if self.outgoing_start == self.outgoing.len() {
            self.outgoing_start = 0;
            if self.outgoing.capacity() > OUTGOING_BYTES_KEPT {
                self.outgoing = Vec::new();
            } else {
                self.outgoing.clear();
            }
        }
    }

    /// Takes all bytes that wait to be written; for transports that own their buffers.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        let taken = self.outgoing().to_vec();
        self.sent(taken.len());
        taken
    }

    fn greet(&mut self, session: SessionId) {
        let config = self.config.clone();
        let hello = Request::Hello(Hello {
            version_min: corelane_wire::frame::VERSION,
            version_max: corelane_wire::frame::VERSION,
            features: 0,
            session,
            resume: session != SessionId::NONE,
            client_name: &config.client_name,
            tenant: &config.tenant,
            token: &config.token,
        });
        self.put(&hello, None, Waiter::Greeting);
    }

    fn put(
        &mut self,
        request: &Request<'_>,
        deadline: Option<Timestamp>,
        waiter: Waiter,
    ) -> Correlation {
        let correlation = self.correlation_next;
        self.correlation_next = Correlation(correlation.0 + 1);
        request.encode(correlation, &mut self.outgoing);
        let call = Call {
            kind: request.kind(),
            deadline,
            waiter,
        };
        let before = self.calls.insert(correlation, call);
        assert!(before.is_none(), "P1: {correlation} was used twice");
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, correlation));
        }
        correlation
    }

    /// Asks a silent peer for a sign of life, and gives up on one that owes it.
    fn check_life(&mut self, now: Timestamp) -> Result<(), ProtocolError> {
        if !self.is_open() {
            return Ok(());
        }
        match self.life_due {
            Some(due) if due <= now => {
                let silence = now.since(self.heard);
                return Err(self.fail(ProtocolError::Silent { silence }));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        if self.heard.add(self.config.ping_after) <= now {
            self.life_due = Some(now.add(self.config.ping_timeout));
            self.put(&Request::Ping, None, Waiter::Nobody);
        }
        Ok(())
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.state = State::Failed(error.clone());
        error
    }
}

/// Reads one frame and closes the call that it answers.
fn read<'a>(
    frame: &Frame<'a>,
    calls: &mut BTreeMap<Correlation, Call>,
    deadlines: &mut BTreeSet<(Timestamp, Correlation)>,
) -> Result<Event<'a>, ProtocolError> {
    match frame.kind {
        kind::FAULT => return Err(fault(frame)),
        kind::DELIVERY => return delivery(frame),
        _ => {}
    }
    let correlation = frame.correlation;
    let Some(call) = calls.remove(&correlation) else {
        return Err(ProtocolError::UnexpectedAnswer {
            correlation,
            kind: frame.kind,
        });
    };
    if let Some(deadline) = call.deadline {
        deadlines.remove(&(deadline, correlation));
    }
    if frame.kind != kind::ERROR && frame.kind != kind::answer(call.kind) {
        return Err(ProtocolError::WrongAnswer {
            request: call.kind,
            answer: frame.kind,
        });
    }
    let response = Response::decode(frame).map_err(ProtocolError::Response)?;
    match (call.waiter, response) {
        (Waiter::Nobody, _) => Ok(Event::Settled),
        (Waiter::Greeting, Response::Hello(answer)) => Ok(Event::Open(answer)),
        (Waiter::Greeting, Response::Error { code, text }) => {
            Err(ProtocolError::Refused { code, text })
        }
        (Waiter::Greeting, _) => Err(ProtocolError::WrongAnswer {
            request: call.kind,
            answer: frame.kind,
        }),
        (Waiter::Caller, response) => Ok(Event::Answer {
            correlation,
            epoch: frame.epoch,
            response,
        }),
    }
}

fn delivery<'a>(frame: &Frame<'a>) -> Result<Event<'a>, ProtocolError> {
    let response = Response::decode(frame).map_err(ProtocolError::Response)?;
    if let Response::Delivery {
        consumer,
        deliveries,
    } = response
    {
        return Ok(Event::Delivery {
            consumer,
            epoch: frame.epoch,
            deliveries,
        });
    }
    Err(ProtocolError::UnexpectedAnswer {
        correlation: frame.correlation,
        kind: frame.kind,
    })
}

fn fault(frame: &Frame<'_>) -> ProtocolError {
    match Response::decode(frame) {
        Ok(Response::Fault { code, text }) => ProtocolError::Fault { code, text },
        Ok(_) => ProtocolError::UnexpectedAnswer {
            correlation: frame.correlation,
            kind: frame.kind,
        },
        Err(error) => ProtocolError::Response(error),
    }
}

/// Beyond this much unwritten, no request is taken; one more frame may stand above it.
const OUTGOING_BYTES_MAX: usize = 4 << 20;
/// A larger buffer is given back to the system once it is empty.
const OUTGOING_BYTES_KEPT: usize = 256 << 10;

#[cfg(test)]
mod tests;
