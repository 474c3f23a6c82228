//! A simulated client over the raw wire protocol: it does all that a client may do, and much that a good one would
//! not (late and foreign settles, batches sent twice, credit of 0, garbage), and tells the checker what it saw.

mod answers;
mod consumer;
mod drain;
mod producer;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{Correlation, Decoder, Epoch, Hello, LeaseId, Lsn, Request, SessionId};

use crate::sim::checker::{BatchKey, Event, QueueIndex, Receiver, SubscriptionKey, Verb};
use crate::sim::clock::{MILLISECOND, Moment, SECOND};
use crate::sim::coverage::Coverage;
use crate::sim::network::LinkId;
use crate::sim::random::{Concern, Random};
use crate::sim::workload::Plan;

use consumer::{Consumer, Holding};
use producer::Producer;

/// What a client works in: the world, as far as it may see and touch it.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The present moment.
    pub now: Moment,
    /// Names and sizes.
    pub plan: &'a Plan,
    /// For the checker.
    pub events: &'a mut Vec<Event>,
    /// Counters of what was met.
    pub met: &'a mut Coverage,
    /// Epoch and end of every partition, as last seen.
    pub ends: &'a [(Epoch, Lsn)],
    /// Subscriptions that anybody has asked for.
    pub attempted: &'a mut BTreeSet<SubscriptionKey>,
    /// Whether the faults are over and everything is to be emptied.
    pub is_draining: bool,
}

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    asked: Asked,
    deadline: Moment,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Hello,
    Nothing,
    Enqueue(BatchKey),
    Dequeue(SubscriptionKey),
    Subscribe {
        consumer: u32,
        credit: u32,
    },
    Credit {
        consumer: u32,
        credit: u32,
    },
    Unsubscribe(u32),
    Settle(SettleAsked),
    Peek(QueueIndex),
    Delete(QueueIndex),
    Show {
        queue: QueueIndex,
        round: u32,
    },
    /// Something about a subscription as a whole.
    Subscription,
}

/// A settle, entry by entry.
#[derive(Clone, Debug)]
pub(crate) struct SettleAsked {
    of: SubscriptionKey,
    verb: Verb,
    offsets: Vec<(LeaseId, u64)>,
}

#[derive(Debug)]
struct Connection {
    link: LinkId,
    decoder: Decoder,
    is_greeted: bool,
    /// The client has stopped reading once: what it holds is not known from outside.
    was_slow: bool,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    index: u32,
    random: Random,
    connection: Option<Connection>,
    session: SessionId,
    correlations: u64,
    tokens: u64,
    consumer_ids: u32,
    pending: BTreeMap<u64, Pending>,
    producers: BTreeMap<QueueIndex, Producer>,
    consumers: BTreeMap<u32, Consumer>,
    holdings: Vec<Holding>,
    /// Settled long ago, to be settled again.
    stale: Vec<(SubscriptionKey, LeaseId, u64)>,
    /// Bytes to be sent on the link.
    pub outgoing: Vec<u8>,
    /// When to try a new link at the earliest.
    pub reconnect_at: Moment,
    last_heard: Moment,
    /// Shown to be empty in this round of the drain.
    empty: BTreeSet<QueueIndex>,
    round: u32,
    next_show: Moment,
}

impl Client {
    /// Client number `index`.
    pub fn new(seed: u64, index: u32) -> Self {
        Self {
            index,
            random: Random::stream(seed, Concern::Client(index)),
            connection: None,
            session: SessionId::NONE,
            correlations: 1,
            tokens: 0,
            consumer_ids: 0,
            pending: BTreeMap::new(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            holdings: Vec::new(),
            stale: Vec::new(),
            outgoing: Vec::new(),
            reconnect_at: 0,
            last_heard: 0,
            empty: BTreeSet::new(),
            round: 0,
            next_show: 0,
        }
    }

    /// The client's own random stream.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The link, if there is one.
    pub fn link(&self) -> Option<LinkId> {
        self.connection.as_ref().map(|connection| connection.link)
    }

    /// Remembers that it stops reading for a while.
    pub fn on_pause(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.was_slow = true;
        }
    }

    /// A link was asked for: greets on it.
    pub fn on_connecting(&mut self, scope: &mut Scope<'_>, link: LinkId) {
        self.connection = Some(Connection {
            link,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            is_greeted: false,
            was_slow: false,
        });
        self.last_heard = scope.now;
        if self.random.one_in(6) {
            self.session = SessionId::NONE;
        }
        let hello = Request::Hello(Hello {
            version_min: 1,
            version_max: self.random.between(1, 3) as u8,
            features: 0,
            session: self.session,
            resume: self.session != SessionId::NONE && self.random.one_in(2),
            client_name: "sim",
            tenant: "",
            token: &[],
        });
        self.ask(scope, &hello, Asked::Hello, 5 * SECOND);
    }

    /// The link is gone: whatever was asked on it has an unknown outcome.
    pub fn on_lost(&mut self, scope: &mut Scope<'_>) {
        if self.connection.take().is_none() {
            return;
        }
        self.outgoing.clear();
        self.consumers.clear();
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.on_unanswered(scope, pending.asked);
        }
        let pause = self.random.skewed(MILLISECOND, 2 * SECOND);
        self.reconnect_at = scope.now + pause;
    }

    /// True when the client has nothing outstanding.
    pub fn is_idle(&self) -> bool {
        self.holdings.is_empty()
            && self.producers.values().all(Producer::is_idle)
            && !self
                .pending
                .values()
                .any(|pending| matches!(pending.asked, Asked::Settle(_) | Asked::Enqueue(_)))
    }

    /// True when all the client's queues were shown to be empty since the last [`Client::ask_anew`].
    pub fn has_emptied(&self, scope: &Scope<'_>) -> bool {
        self.responsibilities(scope)
            .iter()
            .all(|queue| self.empty.contains(queue))
    }

    /// Somebody still works: what was shown to be empty may not stay so.
    pub fn ask_anew(&mut self) {
        self.empty.clear();
        self.round += 1;
    }

    /// Why the client is not drained, for a failure's text.
    pub fn describe(&self, scope: &Scope<'_>) -> String {
        let outstanding: usize = self.producers.values().map(Producer::outstanding).sum();
        format!(
            "client {}: link {:?}, {} holdings, {outstanding} batches outstanding, {} pending, empty {:?} of {:?}, consumers {:?}",
            self.index,
            self.link(),
            self.holdings.len(),
            self.pending.len(),
            self.empty,
            self.responsibilities(scope),
            self.consumers
        )
    }

    fn is_ready(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_greeted)
    }

    /// True when the link must be given up: an answer is overdue.
    pub fn is_stuck(&self, now: Moment) -> bool {
        let is_overdue = self.pending.values().any(|pending| pending.deadline < now);
        self.connection.as_ref().is_some_and(|connection| {
            is_overdue || (!connection.is_greeted && self.pending.is_empty())
        })
    }

    fn ask(&mut self, scope: &mut Scope<'_>, request: &Request<'_>, asked: Asked, wait: Moment) {
        self.correlations += 1;
        let correlation = self.correlations;
        tracing::debug!(client = self.index, correlation, ?asked, "asks");
        request.encode(Correlation(correlation), &mut self.outgoing);
        let deadline = scope.now + wait;
        self.pending
            .insert(correlation, Pending { asked, deadline });
    }

    fn receiver(&self, consumer: Option<u32>, correlation: u64) -> Receiver {
        Receiver {
            link: self.link().map_or(u32::MAX, |link| link.0),
            consumer: consumer.map_or(0, |consumer| consumer + 1),
            correlation,
        }
    }

    /// The client acts: asks for something new unless the drain has begun, settles what is due, sends again.
    /// True when it did one of the operations that the seed counts.
    pub fn act(&mut self, scope: &mut Scope<'_>) -> bool {
        if !self.is_ready() {
            return false;
        }
        self.resend(scope);
        self.settle_due(scope);
        self.keep_alive(scope);
        if scope.is_draining {
            self.drain(scope);
            return false;
        }
        self.operate(scope);
        true
    }

    /// When to act next.
    pub fn pause(&mut self, scope: &Scope<'_>) -> Moment {
        let longest = if scope.is_draining {
            100_000
        } else {
            scope.plan.pause_us_max
        };
        self.random.skewed(20, longest) * 1_000
    }

    fn keep_alive(&mut self, scope: &mut Scope<'_>) {
        if self.pending.is_empty() && scope.now > self.last_heard + 2 * SECOND {
            self.ask(scope, &Request::Ping, Asked::Nothing, ANSWER_WAIT);
        }
    }
}

/// How long a client waits for an answer before it gives the link up.
pub(crate) const ANSWER_WAIT: Moment = 4 * SECOND;
