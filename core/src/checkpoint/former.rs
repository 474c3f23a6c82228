//! The forms of checkpoints before today's, and what they are today.
//!
//! Form 1 has stretches of another form, forms 1 and 2 have subscriptions and leases of another form.

use rkyv::{Archive, Deserialize, Serialize};

use super::stored::{
    Delayed, DonePage, FORM, Held, Lease, Map, Queue, Returned, Runs, Stretch, Subscription, decode,
};

#[derive(Archive, Serialize, Deserialize)]
struct Queue1 {
    id: u32,
    name: String,
    created: u64,
    start: u64,
    end: u64,
    enqueued: u64,
    stretches: Vec<Stretch1>,
    subscriptions: Vec<Subscription2>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Stretch1 {
    first: u64,
    end: u64,
    first_lsn: u64,
    last_lsn: u64,
    bytes: u64,
    live: u64,
    runs: Runs,
}

#[derive(Archive, Serialize, Deserialize)]
struct Queue2 {
    id: u32,
    name: String,
    created: u64,
    start: u64,
    end: u64,
    enqueued: u64,
    stretches: Vec<Stretch>,
    subscriptions: Vec<Subscription2>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Subscription2 {
    name: String,
    done: u64,
    cursor: u64,
    done_set: Map<DonePage>,
    returned: Map<Returned>,
    delayed: Map<Delayed>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Lease2 {
    epoch: u64,
    lsn: u64,
    queue: u32,
    subscription: u32,
    session: [u64; 2],
    runs: Vec<Held>,
}

/// The first form.
pub(super) const FORM_MIN: u32 = 1;

/// A page of queues of this form, as of today's.
pub(super) fn queues(form: u32, bytes: &[u8]) -> Result<Vec<Queue>, String> {
    match form {
        FORM => decode(bytes),
        FORM_MIN => Ok(today(decode::<Vec<Queue1>>(bytes)?)),
        _ => Ok(today(decode::<Vec<Queue2>>(bytes)?)),
    }
}

/// A page of leases of this form, as of today's.
pub(super) fn leases(form: u32, bytes: &[u8]) -> Result<Vec<Lease>, String> {
    match form {
        FORM => decode(bytes),
        _ => Ok(today(decode::<Vec<Lease2>>(bytes)?)),
    }
}

/// Whether a checkpoint of this form can be read.
pub(super) const fn is_readable(form: u32) -> bool {
    form >= FORM_MIN && form <= FORM
}

fn today<F, T: From<F>>(former: Vec<F>) -> Vec<T> {
    former.into_iter().map(Into::into).collect()
}

impl From<Queue1> for Queue {
    fn from(queue: Queue1) -> Self {
        Queue2 {
            id: queue.id,
            name: queue.name,
            created: queue.created,
            start: queue.start,
            end: queue.end,
            enqueued: queue.enqueued,
            stretches: today(queue.stretches),
            subscriptions: queue.subscriptions,
        }
        .into()
    }
}

impl From<Stretch1> for Stretch {
    fn from(stretch: Stretch1) -> Self {
        Self {
            first: stretch.first,
            end: stretch.end,
            first_lsn: stretch.first_lsn,
            last_lsn: stretch.last_lsn,
            bytes: stretch.bytes,
            // Whoever wrote it relocated nothing.
            count: stretch.end.saturating_sub(stretch.first),
            live: stretch.live,
            is_relocated: false,
            runs: stretch.runs,
        }
    }
}

impl From<Queue2> for Queue {
    fn from(queue: Queue2) -> Self {
        let numbered = (0..).zip(queue.subscriptions);
        let subscriptions: Vec<_> = numbered.map(|(id, of)| of.numbered(id)).collect();
        Self {
            id: queue.id,
            name: queue.name,
            created: queue.created,
            start: queue.start,
            end: queue.end,
            enqueued: queue.enqueued,
            stretches: queue.stretches,
            // None had been deleted.
            next_subscription: u32::try_from(subscriptions.len()).unwrap_or(u32::MAX),
            subscriptions,
            scheduled: Map::Inline(Vec::new()),
        }
    }
}

impl Subscription2 {
    /// Nobody counted how many messages it had finished, so that its count begins where it stands; what it had finished
    /// behind that is added when it is restored.
    fn numbered(self, id: u32) -> Subscription {
        Subscription {
            id,
            name: self.name,
            contract: 0,
            in_flight_max: 0,
            rate_max: 0,
            attempts_max: 0,
            backoff_ms: 0,
            backoff_max_ms: 0,
            pause: None,
            begin: self.done,
            gone: 0,
            acked: 0,
            expired: 0,
            purged: 0,
            done: self.done,
            cursor: self.cursor,
            done_set: self.done_set,
            returned: self.returned,
            delayed: self.delayed,
            ahead: Map::Inline(Vec::new()),
            dead: Map::Inline(Vec::new()),
            parked: Map::Inline(Vec::new()),
        }
    }
}

impl From<Lease2> for Lease {
    fn from(lease: Lease2) -> Self {
        Self {
            epoch: lease.epoch,
            lsn: lease.lsn,
            queue: lease.queue,
            subscription: lease.subscription,
            session: lease.session,
            // Not known.
            given: 0,
            runs: lease.runs,
        }
    }
}
