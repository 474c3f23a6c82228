//! The reference: the records that were written, what they mean, and what of them clients rely on at each moment.

use std::collections::BTreeMap;

use corelane_core::record::Record;
use corelane_core::{Engine, Limits};
use corelane_wire::{LeaseId, Lsn, PartitionId, SettleEntry};

use super::client::Fact;
use super::harm::{Verdict, lost, wrong};
use super::script::Played;
use super::setup::QUEUES;
use super::written::Written;
use crate::sim::checker::evidence::{Evidence, LeaseLog, Place, QueueLog};
use crate::sim::checker::{Body, Token, Verb};

/// What a recovered log is held against.
pub(super) struct Reference {
    /// Every record by its lsn.
    pub(super) records: Vec<Written>,
    /// The hash of the state at each end, from a replay of the records one by one.
    hashes: Vec<u64>,
    /// How far a log must reach at least, by the number of changes that the disk has seen.
    required: Vec<u64>,
}

impl Reference {
    /// Judges the run itself on the way: by the model of the simulation's checker, and by what clients were told.
    pub(super) fn new(played: &Played) -> Verdict<Self> {
        let records = played.written.clone();
        let mut index = Index::default();
        let mut evidence = Evidence::default();
        for (lsn, record) in records.iter().enumerate() {
            index.take_in(&mut evidence, record, lsn as u64)?;
        }
        index.leases = evidence.leases;
        let hashes = hashes(&records, &played.hashes)?;
        let mut required = vec![0; played.moments.len() + 1];
        for (changes, fact) in &played.facts {
            let needed = index.needed(fact)?;
            let from = &mut required[*changes];
            *from = needed.max(*from);
        }
        let mut highest = 0;
        for end in &mut required {
            highest = highest.max(*end);
            *end = highest;
        }
        Ok(Self {
            records,
            hashes,
            required,
        })
    }

    /// How far a log must reach that is recovered after so many changes.
    pub(super) fn required(&self, changes: usize) -> u64 {
        self.required[changes.min(self.required.len() - 1)]
    }

    /// The hash of the state at the end; `None` if so much was never written.
    pub(super) fn hash(&self, end: u64) -> Option<u64> {
        self.hashes.get(usize::try_from(end).ok()?).copied()
    }

    /// Lets the model observe the record at this lsn.
    pub(super) fn observe(&self, evidence: &mut Evidence, lsn: u64) -> Verdict {
        observe(evidence, &self.records[lsn as usize], lsn)
    }
}

/// Whether the record is the place of a message that some subscription is not done with.
pub(super) fn is_needed(record: &Written, lsn: u64, evidence: &Evidence) -> bool {
    let Ok(entry) = record.decode(lsn) else {
        return true;
    };
    let (Record::Enqueue {
        queue,
        first,
        count,
        ..
    }
    | Record::Relocate {
        queue,
        first,
        count,
        ..
    }) = entry.record
    else {
        return false;
    };
    let Some(queue) = evidence.queues.get(&queue.0) else {
        return false;
    };
    let is_here = |offset: &u64| match queue.relocated.get(offset) {
        Some(place) => *place == lsn,
        None => matches!(entry.record, Record::Enqueue { .. }),
    };
    let mut offsets = first.0..first.0 + u64::from(count);
    offsets.any(|offset| is_here(&offset) && !is_done(queue, offset))
}

/// Whether every subscription of the queue is done with the message; none is if there are none.
pub(super) fn is_done(queue: &QueueLog, offset: u64) -> bool {
    let mut subscriptions = queue.subscriptions.values();
    !queue.subscriptions.is_empty()
        && subscriptions.all(|subscription| {
            let place = subscription.facts.get(&offset).map(|fact| fact.place);
            offset < subscription.from || place == Some(Place::Done)
        })
}

/// Lets the model observe a record.
pub(super) fn observe(evidence: &mut Evidence, record: &Written, lsn: u64) -> Verdict {
    let entry = match record.decode(lsn) {
        Ok(entry) => entry,
        Err(error) => return wrong(format!("record {lsn}: {error}")),
    };
    match evidence.observe(&entry) {
        Ok(()) => Ok(()),
        Err(violation) => wrong(format!("record {lsn}: {violation}")),
    }
}

/// Hashes of the states of a replay, held against those of the live node.
fn hashes(records: &[Written], live: &BTreeMap<u64, u64>) -> Verdict<Vec<u64>> {
    let mut engine = Engine::new(PartitionId(0), Limits::default());
    let mut hashes = vec![engine.state_hash()];
    for (lsn, record) in records.iter().enumerate() {
        let replayed = engine.replay(Lsn(lsn as u64), record.time, record.kind, &record.payload);
        if let Err(error) = replayed {
            return wrong(format!("the log does not replay: {error}"));
        }
        hashes.push(engine.state_hash());
    }
    for (end, live) in live {
        let replayed = hashes.get(*end as usize);
        if replayed.is_some_and(|replayed| replayed != live) {
            return wrong(format!("at end {end} the live state differs from a replay"));
        }
    }
    Ok(hashes)
}

/// Where in the log the things are that clients are told of.
#[derive(Default)]
struct Index {
    /// Lsn, queue and offset of each message.
    messages: BTreeMap<Token, (u64, String, u64)>,
    settled: BTreeMap<(u8, LeaseId, u64), u64>,
    created: BTreeMap<String, Vec<u64>>,
    deleted: BTreeMap<String, Vec<u64>>,
    leases: BTreeMap<LeaseId, LeaseLog>,
    /// Up to where creations and deletions were told.
    told: u64,
}

impl Index {
    fn take_in(&mut self, evidence: &mut Evidence, record: &Written, lsn: u64) -> Verdict {
        let entry = match record.decode(lsn) {
            Ok(entry) => entry,
            Err(error) => return wrong(format!("record {lsn}: {error}")),
        };
        let name_of = |evidence: &Evidence, queue: u32| {
            evidence
                .queues
                .get(&queue)
                .map(|queue| queue.name.clone())
                .unwrap_or_default()
        };
        if let Record::Delete { queue } = &entry.record {
            let name = name_of(evidence, queue.0);
            self.deleted.entry(name).or_default().push(lsn);
        }
        observe(evidence, record, lsn)?;
        if let Record::Create { name, .. } = &entry.record {
            self.created.entry(name.clone()).or_default().push(lsn);
        }
        if let Record::Enqueue {
            queue,
            first,
            count,
            ..
        } = &entry.record
        {
            let name = name_of(evidence, queue.0);
            let tokens = evidence.queues.get(&queue.0).map(|queue| &queue.tokens);
            let offsets = first.0..first.0 + u64::from(*count);
            for offset in offsets {
                let token = tokens.and_then(|tokens| tokens.get(&offset)).copied();
                let place = (lsn, name.clone(), offset);
                self.messages.insert(token.unwrap_or_default(), place);
            }
        }
        let entries: &[SettleEntry] = match &entry.record {
            Record::Ack { entries, .. }
            | Record::Nack { entries, .. }
            | Record::Reject { entries, .. }
            | Record::Extend { entries, .. } => entries,
            Record::Epoch { .. }
            | Record::Create { .. }
            | Record::Enqueue { .. }
            | Record::Relocate { .. }
            | Record::Lease { .. }
            | Record::Tick
            | Record::Release { .. }
            | Record::Delete { .. }
            | Record::ConfigureQueue { .. }
            | Record::Trim { .. }
            | Record::Reschedule { .. }
            | Record::Subscribe { .. }
            | Record::Take { .. }
            | Record::Change { .. } => &[],
        };
        for settled in entries {
            for offset in settled.range.first.0..settled.range.end().0 {
                let key = (record.kind, settled.lease, offset);
                self.settled.entry(key).or_insert(lsn);
            }
        }
        Ok(())
    }

    /// How far a log must reach that holds what the fact says.
    fn needed(&mut self, fact: &Fact) -> Verdict<u64> {
        match fact {
            Fact::Enqueued {
                queue,
                first,
                tokens,
            } => {
                let mut end = 0;
                for (offset, token) in (*first..).zip(tokens) {
                    end = end.max(self.needed_for(*queue, offset, *token)?);
                }
                Ok(end)
            }
            Fact::Given {
                of,
                lease,
                attempt,
                offset,
                body,
            } => {
                let known = self
                    .leases
                    .get(lease)
                    .and_then(|log| log.attempts.get(offset));
                if known.is_some_and(|known| known != attempt) {
                    return wrong(format!("{fact:?}: the log has attempt {known:?}"));
                }
                self.needed_for_body(of.0, *offset, *body)
            }
            Fact::Peeked {
                queue,
                offset,
                body,
            } => self.needed_for_body(*queue, *offset, *body),
            Fact::Settled {
                verb,
                lease,
                offset,
                ..
            } => match self.settled.get(&(kind_of(*verb), *lease, *offset)) {
                Some(lsn) => Ok(lsn + 1),
                None => lost(format!("{fact:?}: confirmed, and not in the log")),
            },
            Fact::Created { queue } => self.needed_for_next(fact, *queue, true),
            Fact::Deleted { queue } => self.needed_for_next(fact, *queue, false),
            Fact::Refused { .. } => Ok(0),
        }
    }

    fn needed_for_body(&self, queue: usize, offset: u64, body: Body) -> Verdict<u64> {
        match body {
            Body::Intact(token) => self.needed_for(queue, offset, token),
            Body::Foreign => wrong(format!(
                "offset {offset} of {}: a foreign body",
                QUEUES[queue]
            )),
        }
    }

    fn needed_for(&self, queue: usize, offset: u64, token: Token) -> Verdict<u64> {
        let name = QUEUES[queue];
        match self.messages.get(&token) {
            Some((lsn, of, at)) if of == name && *at == offset => Ok(lsn + 1),
            Some(other) => wrong(format!(
                "message {token} of {name} at {offset} is {other:?}"
            )),
            None => lost(format!(
                "message {token} of {name} at {offset} is not in the log"
            )),
        }
    }

    /// The first creation or deletion of the queue behind all that were told before.
    fn needed_for_next(&mut self, fact: &Fact, queue: usize, is_created: bool) -> Verdict<u64> {
        let all = if is_created {
            &self.created
        } else {
            &self.deleted
        };
        let known = all.get(QUEUES[queue]);
        let next = known.and_then(|all| all.iter().find(|lsn| **lsn >= self.told));
        let Some(lsn) = next.copied() else {
            return lost(format!("{fact:?}: confirmed, and not in the log"));
        };
        self.told = lsn + 1;
        Ok(lsn + 1)
    }
}

fn kind_of(verb: Verb) -> u8 {
    use corelane_wire::record::record_kind;
    match verb {
        Verb::Ack => record_kind::ACK,
        Verb::Nack => record_kind::NACK,
        Verb::Reject => record_kind::REJECT,
        Verb::Extend => record_kind::EXTEND,
    }
}
