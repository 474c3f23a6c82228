//! A consumer thread: takes under lease, checks, acks; sometimes resumes its session after a death.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::bail;
use corelane_wire::{
    Dequeue, Lane, LeaseId, Messages, Nack, Offset, OffsetRange, Request, Response, SessionId,
    Settle, SettleEntries, SettleEntry, SettleOutcome, Settled,
};

use super::trouble::Trouble;
use super::{Ledger, MessageId, Phase, Rendezvous};
use crate::raw::RawConnection;

/// Messages asked for at once.
const TAKE_COUNT: u32 = 500;
/// How long one dequeue waits for messages.
const WAIT_MS: u32 = 200;
/// Much longer than an ack takes. Messages that a resumed session was sent as the broker died come
/// back only when their lease ends, so it is no longer than the drain can wait.
const LEASE_MS: u32 = 5_000;

/// Messages that are not acknowledged when they first come, but given back.
#[derive(Clone, Copy, Debug)]
pub struct Deferral {
    /// One of so many.
    pub one_in: u32,
    /// They come again after so long.
    pub delay_ms: u64,
}

/// Messages under lease, and which offset each has.
pub(super) struct Taken {
    lease: LeaseId,
    pub(super) messages: Vec<(Offset, MessageId)>,
}

struct Consumer<'a> {
    queue: &'a str,
    ledger: &'a Ledger,
    rendezvous: &'a Rendezvous,
    session: SessionId,
    deaths: u32,
    deferral: Option<Deferral>,
    /// Given back once.
    deferred: BTreeSet<MessageId>,
    /// Delivered, with no answer to its ack yet.
    unsettled: Vec<Taken>,
}

/// Consumes `queue` until the run ends, and puts some of its messages off.
///
/// # Errors
/// If the broker refuses what it must take, or answers what was not asked.
pub fn consume(
    queue: &str,
    ledger: &Ledger,
    rendezvous: &Rendezvous,
    deferral: Option<Deferral>,
) -> anyhow::Result<()> {
    let mut consumer = Consumer {
        queue,
        ledger,
        rendezvous,
        session: SessionId::default(),
        deaths: 0,
        deferral,
        deferred: BTreeSet::new(),
        unsettled: Vec::new(),
    };
    loop {
        let (Phase::Load(address) | Phase::Drain(address)) = rendezvous.wait_up(0) else {
            return Ok(());
        };
        match consumer.run(address) {
            Ok(()) => return Ok(()),
            Err(Trouble::Broken) => {
                consumer.on_death();
                rendezvous.wait_other(address);
            }
            Err(Trouble::Wrong(error)) => return Err(error),
        }
    }
}

impl Consumer<'_> {
    fn run(&mut self, address: SocketAddr) -> Result<(), Trouble> {
        let mut connection = RawConnection::connect(address, self.session).map_err(Trouble::of)?;
        self.session = connection.session;
        while let Some(taken) = self.unsettled.pop() {
            self.settle(&mut connection, taken)?;
        }
        while self.rendezvous.phase() != Phase::End {
            if let Some(mut taken) = self.take(&mut connection)? {
                self.defer(&mut connection, &mut taken)?;
                self.settle(&mut connection, taken)?;
            }
        }
        Ok(())
    }

    /// Every other death it forgets its session, so that its leases must come back by themselves.
    fn on_death(&mut self) {
        self.deaths += 1;
        if self.deaths.is_multiple_of(2) {
            self.session = SessionId::default();
            self.unsettled.clear();
        }
    }

    fn take(&self, connection: &mut RawConnection) -> Result<Option<Taken>, Trouble> {
        let answer = take(connection, self.queue, |body| self.ledger.delivered(body))?;
        Ok(Some(answer).filter(|taken| !taken.messages.is_empty()))
    }

    /// Gives those back whose turn it is, and leaves the others.
    fn defer(&mut self, connection: &mut RawConnection, taken: &mut Taken) -> Result<(), Trouble> {
        let Some(deferral) = self.deferral else {
            return Ok(());
        };
        let is_due = |(_, id): &mut (Offset, MessageId)| {
            id.number.is_multiple_of(deferral.one_in) && self.deferred.insert(*id)
        };
        let deferred = Taken {
            lease: taken.lease,
            messages: taken.messages.extract_if(.., is_due).collect(),
        };
        if !deferred.messages.is_empty() {
            settle(connection, self.queue, &deferred, |settle| {
                Request::Nack(Nack {
                    settle,
                    delay_ms: deferral.delay_ms,
                    count_attempt: false,
                })
            })?;
        }
        Ok(())
    }

    fn settle(&mut self, connection: &mut RawConnection, taken: Taken) -> Result<(), Trouble> {
        if taken.messages.is_empty() {
            return Ok(());
        }
        for (_, id) in &taken.messages {
            self.ledger.ack_sent(*id);
            self.deferred.remove(id);
        }
        match ack(connection, self.queue, &taken) {
            Ok(settled) => {
                self.note(&taken, &settled);
                Ok(())
            }
            Err(trouble) => {
                self.unsettled.push(taken);
                Err(trouble)
            }
        }
    }

    fn note(&self, taken: &Taken, settled: &[Settled]) {
        for settled in settled {
            for (offset, id) in &taken.messages {
                if *offset < settled.range.first || *offset >= settled.range.end() {
                    continue;
                }
                if settled.outcome == SettleOutcome::Stale {
                    self.ledger.ack_refused(*id);
                } else {
                    self.ledger.acked(*id);
                }
            }
        }
    }
}

/// Takes messages under a lease; `identify` says which they are, or `None` for one that nobody enqueued.
pub(super) fn take(
    connection: &mut RawConnection,
    queue: &str,
    mut identify: impl FnMut(&[u8]) -> Option<MessageId>,
) -> Result<Taken, Trouble> {
    let request = Request::Dequeue(Dequeue {
        queue,
        lane: Lane::default(),
        subscription: "",
        count: TAKE_COUNT,
        lease_ms: LEASE_MS,
        wait_ms: WAIT_MS,
    });
    exchange(connection, &request, |response| {
        let Response::Dequeued(deliveries) = &response else {
            bail!("a dequeue was answered with {response:?}");
        };
        let mut messages = Vec::new();
        let mut offsets = deliveries
            .runs
            .iter()
            .flat_map(|run| (0..u64::from(run.count)).map(|index| Offset(run.first.0 + index)));
        for message in Messages::new(deliveries.messages) {
            let offset = offsets.next();
            let id = identify(message?.body);
            messages.extend(offset.zip(id));
        }
        let lease = deliveries.lease;
        Ok(Taken { lease, messages })
    })
}

/// Acknowledges what was taken.
pub(super) fn ack(
    connection: &mut RawConnection,
    queue: &str,
    taken: &Taken,
) -> Result<Vec<Settled>, Trouble> {
    #[expect(
        clippy::redundant_closure,
        reason = "the variant itself is not general enough over the lifetime"
    )]
    settle(connection, queue, taken, |settle| Request::Ack(settle))
}

fn settle(
    connection: &mut RawConnection,
    queue: &str,
    taken: &Taken,
    request: impl FnOnce(Settle<'_>) -> Request<'_>,
) -> Result<Vec<Settled>, Trouble> {
    let mut entries = Vec::new();
    for range in ranges(&taken.messages) {
        let lease = taken.lease;
        SettleEntry { lease, range }.put(&mut entries);
    }
    let request = request(Settle {
        queue,
        lane: Lane::default(),
        subscription: "",
        entries: SettleEntries::read(&entries).expect("a dequeue brings few messages"),
    });
    exchange(connection, &request, |response| {
        let Response::Settled(settled) = &response else {
            bail!("a settle was answered with {response:?}");
        };
        Ok(settled.clone())
    })
}

/// Sends one request and waits for its answer.
fn exchange<T>(
    connection: &mut RawConnection,
    request: &Request<'_>,
    take: impl FnOnce(Response<'_>) -> anyhow::Result<T>,
) -> Result<T, Trouble> {
    connection.send(request).map_err(Trouble::of)?;
    let answer = connection
        .receive(|_, response| {
            if let Response::Error { code, text } | Response::Fault { code, text } = response {
                return Ok(Err((code, text)));
            }
            Ok(Ok(take(response)))
        })
        .map_err(Trouble::of)?;
    match answer {
        Ok(taken) => taken.map_err(Trouble::Wrong),
        Err((code, text)) => Err(Trouble::refused(code, &text)),
    }
}

/// The runs of consecutive offsets.
fn ranges(messages: &[(Offset, MessageId)]) -> impl Iterator<Item = OffsetRange> + '_ {
    messages
        .chunk_by(|(before, _), (after, _)| before.0 + 1 == after.0)
        .filter_map(|run| {
            let (first, _) = run.first()?;
            Some(OffsetRange {
                first: *first,
                count: u32::try_from(run.len()).unwrap_or(u32::MAX),
            })
        })
}
