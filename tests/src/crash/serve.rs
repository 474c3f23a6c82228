//! What a node must be able to do after a crash: show what it has, take and give, and keep that.

use corelane_wire::{
    Dequeue, Lane, Offset, Peek, ProducerId, Request, Sequence, SettleEntry, Timestamp,
};

use super::client::{Asked, Client, Fact, Held, Of};
use super::harm::{Verdict, lost, unrecovered, wrong};
use super::machine::{Machine, Opened};
use super::reference::is_done;
use super::setup::{QUEUES, SUBSCRIPTIONS, Setup};
use super::written::Written;
use crate::sim::checker::evidence::{Evidence, Place, QueueLog};
use crate::sim::checker::{Body, Token, Verb};
use crate::sim::driver::SharedDisk;

/// The message that is enqueued after a crash.
const NEW: Token = 1 << 40;
/// What a dequeue asks for.
const COUNT: u32 = 4;
/// Messages of a peek.
const PEEK_MAX: u32 = 1_000;

/// What was confirmed after the crash.
pub(super) struct Promise {
    enqueued: Vec<(usize, u64)>,
    acked: Vec<(Of, u64)>,
    /// The records that were handed to the disk.
    pub(super) written: Vec<Written>,
}

/// Serves a few operations; `model` is what the log means that was recovered.
pub(super) fn serve(
    disk: &SharedDisk,
    setup: &Setup,
    opened: Opened,
    (model, now): (&Evidence, Timestamp),
) -> Verdict<Promise> {
    let end = opened.ready.log.end().0;
    let mut machine = Machine::new(disk, setup, opened, now);
    machine.driver().is_eager = true;
    machine.driver().written = Some(Vec::new());
    machine.driver().written_from = end;
    let mut client = machine.connect()?;
    for queue in 0..QUEUES.len() {
        peek(&mut client, queue, 0);
    }
    // The deleted one may or may not be there; the others have what their last enqueue says.
    let of = (usize::from(model.queue(QUEUES[0]).is_none()), 0);
    dequeue(&mut client, of);
    client.enqueue(of.0, &[(NEW, 40)], (ProducerId::NONE, Sequence(0)));
    machine.await_answers(&mut client)?;
    for (queue, name) in QUEUES.into_iter().enumerate() {
        // An answer ends where the places of messages have to be read first: the next peek goes on there.
        let mut from = 0;
        while let Some(offset) = check_peek(&machine.facts, queue, model.queue(name))? {
            if offset < from {
                return lost(format!("offset {offset} of {name} cannot be looked at"));
            }
            from = offset + 1;
            peek(&mut client, queue, offset);
            machine.await_answers(&mut client)?;
        }
    }
    let held: Vec<Held> = client.held.drain(..).collect();
    for held in &held {
        #[expect(
            clippy::redundant_closure,
            reason = "the variant alone is not general over lifetimes"
        )]
        client.settle(*held, Verb::Ack, |settle| Request::Ack(settle));
    }
    machine.await_answers(&mut client)?;
    let written = machine.driver().written.take().unwrap_or_default();
    let facts: Vec<Fact> = machine.facts.into_iter().map(|(_, fact)| fact).collect();
    check_dequeue(&facts, of, model.queue(QUEUES[of.0]), now)?;
    let promise = promise(&facts, &held, of, model)?;
    Ok(Promise { written, ..promise })
}

fn peek(client: &mut Client, queue: usize, from: u64) {
    let request = Request::Peek(Peek {
        queue: QUEUES[queue],
        lane: Lane(0),
        from: Offset(from),
        count: PEEK_MAX,
    });
    client.ask(&request, Asked::Peek { queue });
}

fn dequeue(client: &mut Client, of: Of) {
    let request = Request::Dequeue(Dequeue {
        queue: QUEUES[of.0],
        lane: Lane(0),
        subscription: SUBSCRIPTIONS[of.1],
        count: COUNT,
        lease_ms: 60_000,
        wait_ms: 0,
    });
    client.ask(&request, Asked::Dequeue(of));
}

/// Each message that was seen is the one that was sent; returns the first that somebody is not done with and that was
/// not seen.
fn check_peek(
    facts: &[(usize, Fact)],
    queue: usize,
    log: Option<&QueueLog>,
) -> Verdict<Option<u64>> {
    let name = QUEUES[queue];
    let mut seen = std::collections::BTreeSet::new();
    for (_, fact) in facts {
        let Fact::Peeked {
            queue: of,
            offset,
            body,
        } = fact
        else {
            continue;
        };
        if *of != queue {
            continue;
        }
        let sent = log.and_then(|log| log.tokens.get(offset)).copied();
        let is_new = *body == Body::Intact(NEW) && *offset == log.map_or(0, |log| log.end);
        if sent.map(Body::Intact) != Some(*body) && !is_new {
            return wrong(format!(
                "offset {offset} of {name} is {body:?}, sent was {sent:?}"
            ));
        }
        seen.insert(*offset);
    }
    let missing = log.and_then(|log| {
        (0..log.end).find(|offset| !seen.contains(offset) && !is_done(log, *offset))
    });
    Ok(missing)
}

/// What is ready is given out, as the next attempt; nothing else is.
fn check_dequeue(facts: &[Fact], of: Of, log: Option<&QueueLog>, now: Timestamp) -> Verdict {
    let subscription = log.and_then(|log| {
        let mut all = log.subscriptions.values();
        all.find(|subscription| subscription.name == SUBSCRIPTIONS[of.1])
    });
    let mut given = 0;
    for fact in facts {
        let Fact::Given {
            attempt,
            offset,
            body,
            ..
        } = fact
        else {
            continue;
        };
        given += 1;
        let known = subscription.and_then(|subscription| subscription.facts.get(offset));
        let is_ready = known.is_none_or(|fact| match fact.place {
            Place::Ready => true,
            Place::Delayed { due } => due <= now.0 + SERVED_NS,
            Place::Leased { .. } | Place::Dead | Place::Parked | Place::Done => false,
        });
        if !is_ready {
            return wrong(format!("{fact:?} is given out, it was {known:?}"));
        }
        let attempts = known.map_or(0, |fact| fact.attempts);
        if *attempt != attempts + 1 {
            return wrong(format!("{fact:?}: {attempts} attempts were made before"));
        }
        let sent = log.and_then(|log| log.tokens.get(offset)).copied();
        let is_new = sent.is_none() && *body == Body::Intact(NEW);
        if sent.map(Body::Intact) != Some(*body) && !is_new {
            return wrong(format!("{fact:?}: sent was {sent:?}"));
        }
    }
    let ready = log.map_or(0, |log| {
        let facts = subscription.map(|subscription| &subscription.facts);
        // The first subscription of a queue begins at its first message, later ones behind its last.
        let begin = if log.subscriptions.is_empty() {
            0
        } else {
            log.end
        };
        let cursor = subscription.map_or(begin, |subscription| subscription.cursor);
        let waiting = facts.into_iter().flat_map(|facts| facts.values());
        let waiting = waiting.filter(|fact| fact.place == Place::Ready).count() as u64;
        waiting + log.end - cursor
    });
    // Fewer may come where the places of the others have to be read first.
    if given == 0 && ready > 0 {
        return lost(format!("{ready} messages are ready, none was given out"));
    }
    Ok(())
}

/// Confirmations of what was asked for.
fn promise(facts: &[Fact], held: &[Held], of: Of, model: &Evidence) -> Verdict<Promise> {
    let mut promise = Promise {
        enqueued: Vec::new(),
        acked: Vec::new(),
        written: Vec::new(),
    };
    for fact in facts {
        match fact {
            Fact::Enqueued { queue, first, .. } => promise.enqueued.push((*queue, *first)),
            Fact::Settled { of, offset, .. } => promise.acked.push((*of, *offset)),
            Fact::Created { .. }
            | Fact::Deleted { .. }
            | Fact::Given { .. }
            | Fact::Peeked { .. }
            | Fact::Refused { .. } => {}
        }
    }
    let end = model.queue(QUEUES[of.0]).map_or(0, |queue| queue.end);
    if promise.enqueued != [(of.0, end)] {
        let enqueued = &promise.enqueued;
        return unrecovered(format!("an enqueue at {end} was answered by {enqueued:?}"));
    }
    let count = |held: &Held| u64::from(SettleEntry::clone(&held.entry).range.count);
    let asked: u64 = held.iter().map(count).sum();
    let done = promise.acked.len() as u64;
    if done != asked {
        return unrecovered(format!("{asked} messages were acked, {done} are done"));
    }
    Ok(promise)
}

impl Promise {
    /// Everything promised is in the log that `model` is the meaning of.
    pub(super) fn check(&self, model: &Evidence) -> Verdict {
        for (queue, offset) in &self.enqueued {
            let log = model.queue(QUEUES[*queue]);
            let found = log.and_then(|log| log.tokens.get(offset)).copied();
            if found != Some(NEW) {
                let name = QUEUES[*queue];
                return lost(format!(
                    "enqueued after the crash at {offset} of {name}: {found:?}"
                ));
            }
        }
        for (of, offset) in &self.acked {
            let log = model.queue(QUEUES[of.0]);
            let subscription = log.and_then(|log| {
                let mut all = log.subscriptions.values();
                all.find(|subscription| subscription.name == SUBSCRIPTIONS[of.1])
            });
            let place = subscription
                .and_then(|subscription| subscription.facts.get(offset))
                .map(|fact| fact.place);
            if place != Some(Place::Done) {
                return lost(format!(
                    "acked after the crash at {offset} of {of:?}: {place:?}"
                ));
            }
        }
        Ok(())
    }
}

/// How long after the start something may have come due.
const SERVED_NS: u64 = 1_000_000_000;
