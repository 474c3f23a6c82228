//! The forms of checkpoints before today's, and what they are today.
//!
//! Form 1 has stretches of another form, forms 1 and 2 have subscriptions and leases of another form, and up to form 3
//! queues had no configuration and messages lived for ever.

use rkyv::{Archive, Deserialize, Serialize};

use super::stored::{
    Ahead, Delayed, DonePage, FORM, Held, Lease, Map, Pause, Queue, QueueConfig, Returned, Runs,
    Scheduled, SetAside, Stretch, Subscription, decode,
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
struct Queue3 {
    id: u32,
    name: String,
    created: u64,
    start: u64,
    end: u64,
    enqueued: u64,
    stretches: Vec<Stretch>,
    subscriptions: Vec<Subscription3>,
    next_subscription: u32,
    scheduled: Map<Delayed>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Subscription3 {
    id: u32,
    name: String,
    contract: u8,
    in_flight_max: u32,
    rate_max: u32,
    attempts_max: u32,
    backoff_ms: u64,
    backoff_max_ms: u64,
    pause: Option<Pause>,
    begin: u64,
    gone: u64,
    acked: u64,
    expired: u64,
    purged: u64,
    done: u64,
    cursor: u64,
    done_set: Map<DonePage>,
    returned: Map<Returned>,
    delayed: Map<Delayed>,
    ahead: Map<Ahead>,
    dead: Map<SetAside>,
    parked: Map<SetAside>,
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
/// The first form in which a subscription counts what it finished.
pub(super) const FORM_COUNTING: u32 = 3;

/// A page of queues of this form, as of today's.
pub(super) fn queues(form: u32, bytes: &[u8]) -> Result<Vec<Queue>, String> {
    match form {
        FORM => decode(bytes),
        FORM_MIN => Ok(today(decode::<Vec<Queue1>>(bytes)?)),
        2 => Ok(today(decode::<Vec<Queue2>>(bytes)?)),
        _ => Ok(today(decode::<Vec<Queue3>>(bytes)?)),
    }
}

/// A page of leases of this form, as of today's.
pub(super) fn leases(form: u32, bytes: &[u8]) -> Result<Vec<Lease>, String> {
    match form {
        FORM_COUNTING..=FORM => decode(bytes),
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
        Queue3 {
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
        .into()
    }
}

impl Subscription2 {
    /// Nobody counted how many messages it had finished, so that its count begins where it stands; what it had finished
    /// behind that is added when it is restored.
    fn numbered(self, id: u32) -> Subscription3 {
        Subscription3 {
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

impl From<Queue3> for Queue {
    fn from(queue: Queue3) -> Self {
        Self {
            id: queue.id,
            name: queue.name,
            created: queue.created,
            start: queue.start,
            end: queue.end,
            enqueued: queue.enqueued,
            stretches: queue.stretches,
            subscriptions: today(queue.subscriptions),
            next_subscription: queue.next_subscription,
            scheduled: by_offset(queue.scheduled),
            config: QueueConfig::default(),
            retained_from: None,
            expiring: Map::Inline(Vec::new()),
            swept: None,
            lapsed: Map::Inline(Vec::new()),
        }
    }
}

/// What was scheduled, as it is held today; where it stands apart, it is read as it was.
fn by_offset(scheduled: Map<Delayed>) -> Map<Scheduled> {
    match scheduled {
        Map::Inline(entries) => Map::Inline(today(entries)),
        Map::Pages(places) => Map::Pages(places),
    }
}

impl From<Delayed> for Scheduled {
    fn from(of: Delayed) -> Self {
        Self {
            due: of.due,
            first: of.first,
            count: of.count,
            ttl_ms: 0,
        }
    }
}

impl From<Subscription3> for Subscription {
    fn from(of: Subscription3) -> Self {
        Self {
            id: of.id,
            name: of.name,
            contract: of.contract,
            in_flight_max: of.in_flight_max,
            rate_max: of.rate_max,
            attempts_max: of.attempts_max,
            backoff_ms: of.backoff_ms,
            backoff_max_ms: of.backoff_max_ms,
            pause: of.pause,
            begin: of.begin,
            gone: of.gone,
            acked: of.acked,
            expired: of.expired,
            purged: of.purged,
            done: of.done,
            cursor: of.cursor,
            done_set: of.done_set,
            returned: of.returned,
            behind: Map::Inline(Vec::new()),
            delayed: of.delayed,
            ahead: of.ahead,
            dead: of.dead,
            parked: of.parked,
            dead_letters: None,
            letter: None,
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
