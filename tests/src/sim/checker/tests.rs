//! The checker is checked: planted histories, good ones accepted, bad ones rejected under the right rule.

mod histories;
mod logs;

use corelane_wire::{Epoch, LeaseId, Lsn, SettleOutcome};

use super::*;

const KEY: BatchKey = BatchKey {
    queue: 0,
    producer: 7,
    sequence: 0,
};
const OF: SubscriptionKey = SubscriptionKey {
    queue: 0,
    subscription: 0,
};
const END: (Epoch, Lsn) = (Epoch(1), Lsn(50));

fn lease(epoch: u64, lsn: u64) -> LeaseId {
    LeaseId {
        epoch: Epoch(epoch),
        lsn: Lsn(lsn),
    }
}

fn receiver(link: u32) -> Receiver {
    Receiver {
        link,
        consumer: 1,
        correlation: 0,
    }
}

fn invoked(sequence: u64, tokens: &[Token]) -> Event {
    Event::EnqueueInvoked {
        key: BatchKey { sequence, ..KEY },
        tokens: tokens.to_vec(),
    }
}

fn confirmed(sequence: u64, first: u64, count: u32) -> Event {
    Event::EnqueueConfirmed {
        key: BatchKey { sequence, ..KEY },
        first,
        count,
        duplicate: false,
    }
}

fn delivered(offset: u64, token: Token, lease: LeaseId) -> Event {
    delivered_to(receiver(1), offset, token, lease)
}

fn delivered_to(by: Receiver, offset: u64, token: Token, lease: LeaseId) -> Event {
    Event::Delivered(Delivered {
        of: OF,
        by,
        lease,
        attempt: 1,
        offset,
        body: Body::Intact(token),
    })
}

fn settled(verb: Verb, offset: u64, lease: LeaseId, outcome: SettleOutcome) -> Event {
    Event::Settled {
        of: OF,
        verb,
        lease,
        offset,
        outcome,
        end: END,
    }
}

fn acked(offset: u64, lease: LeaseId) -> Event {
    settled(Verb::Ack, offset, lease, SettleOutcome::Done)
}

fn started(epoch: u64) -> Event {
    Event::Started {
        partition: 0,
        epoch: Epoch(epoch),
    }
}

/// The rule that the history breaks, if any.
fn broken(is_quiet: bool, events: &[Event]) -> Option<&'static str> {
    let mut checker = Checker::new(vec![0, 0], is_quiet);
    let mut all = vec![started(1)];
    all.extend_from_slice(events);
    all.iter()
        .find_map(|event| checker.observe(event).err())
        .map(|violation| violation.rule)
}
