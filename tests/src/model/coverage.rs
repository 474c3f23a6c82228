//! Which features met: a pair is met if both took effect on one subscription within one seed.

/// Declares the features with their names, in one list.
macro_rules! features {
    ($($feature:ident $name:literal)*) => {
        /// Something that takes effect on a subscription.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Feature { $($feature),* }

        const NAMES: &[&str] = &[$($name),*];
    };
}

features! {
    Enqueue "enqueue"
    EnqueueBatch "enqueue of several"
    Duplicate "duplicate batch"
    OutOfSequence "out of sequence"
    UnknownProducer "unknown producer"
    ProducerForgotten "producer forgotten"
    Dequeue "dequeue"
    DequeueWaited "dequeue that waited"
    DequeueEmpty "empty dequeue"
    Push "push to a consumer"
    Credit "credit"
    Unsubscribe "unsubscribe"
    AtMostOnce "at most once"
    SingleActive "single active"
    StandBy "stand-by consumer"
    KeyOrdered "key-ordered"
    KeyWaits "key that waits"
    KeysRead "keys read back"
    Rate "bound of the rate"
    DueLater "due later"
    DueBefore "due after a subscription begins"
    CameDue "came due"
    DueTooLate "due too late"
    Memory "class memory"
    SeveralConsumers "several consumers"
    Disconnect "disconnect"
    Redelivery "redelivery"
    SeveralRuns "delivery of several runs"
    Ack "ack"
    AckOutOfOrder "ack out of order"
    AlreadyDone "already done"
    Stale "stale lease"
    Nack "nack"
    NackDelayed "nack with a delay"
    NackUncounted "nack that does not count"
    Extend "extend"
    LeaseExpiry "lease expiry"
    DelayOver "delay over"
    SessionRelease "session release"
    SessionResumed "session resumed"
    LateSubscription "subscription that begins late"
    SeveralSubscriptions "several subscriptions"
    QueueDelete "queue delete"
    Peek "peek"
    Crash "crash"
    TailLost "uncommitted tail lost"
    Replay "replay of the log"
    Published "checkpoint"
    Checkpoint "start from a checkpoint"
    OlderCheckpoint "start from an older checkpoint"
    ReadBack "batches read back"
    Segment "new segment"
    Begin "subscription that begins between"
    Configure "configure"
    InFlight "bound of what is in flight"
    Pause "pause"
    Resume "resume"
    Seek "seek"
    SubscriptionDelete "subscription delete"
    Cancelled "cancel"
    Moved "move"
    ListScheduled "list of what is scheduled"
    Behind "back behind others"
    Reject "reject"
    Dead "dead by a reject"
    Parked "parked"
    AttemptsUsed "attempts used up"
    AttemptsExpired "attempts used up by expiry"
    BackOff "back-off"
    ListAside "list of what is set aside"
    Redrive "redrive"
    Kick "kick"
    PurgeWaiting "purge of what waits"
    PurgeParked "purge of what is parked"
    PurgeDead "purge of what is dead"
    Relocation "relocation"
    TimeJump "time jump"
    JumpRefused "refused time jump"
    Poison "failed write"
    ReadOnly "read-only start"
    Withheld "deliveries withheld"
}

/// The name of a queue, and that of a subscription.
type Names = (String, String);

/// What was met.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    /// By feature: the features that it met.
    met: Vec<u128>,
    /// What took effect on each subscription of the seed that runs; one that is made again counts as the same.
    now: Vec<(Names, u128)>,
}

impl Coverage {
    /// A feature took effect.
    pub(super) fn meet(&mut self, (queue, name): (&str, &str), feature: Feature) {
        let bit = 1 << feature as u32;
        let is_it = |(of, _): &&mut (Names, u128)| of.0 == queue && of.1 == name;
        match self.now.iter_mut().find(is_it) {
            Some((_, features)) => *features |= bit,
            None => self.now.push(((queue.to_owned(), name.to_owned()), bit)),
        }
    }

    /// The seed is over.
    pub(super) fn end(&mut self) {
        for (_, features) in std::mem::take(&mut self.now) {
            self.add_features(features);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.met.resize(NAMES.len(), 0);
        for (met, others) in self.met.iter_mut().zip(&other.met) {
            *met |= others;
        }
    }

    /// How many pairs were met, and how many there are.
    pub(super) fn pairs(&self) -> (usize, usize) {
        let pairs = NAMES.len() * (NAMES.len() - 1) / 2;
        (pairs - self.missing().len(), pairs)
    }

    /// The pairs that were not met.
    pub(super) fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let met = |one: usize, other: usize| {
            let of = self.met.get(one).copied().unwrap_or_default();
            of >> other & 1 == 1
        };
        let numbers = 0..NAMES.len();
        numbers
            .flat_map(|one| (one + 1..NAMES.len()).map(move |other| (one, other)))
            .filter(|(one, other)| !met(*one, *other))
            .map(|(one, other)| (NAMES[one], NAMES[other]))
            .collect()
    }

    fn add_features(&mut self, features: u128) {
        self.met.resize(NAMES.len(), 0);
        for (number, met) in self.met.iter_mut().enumerate() {
            if features >> number & 1 == 1 {
                *met |= features;
            }
        }
    }
}

const _: () = assert!(NAMES.len() <= 128);
