//! Random runs of a producer against a broker model with the rules of the design, and a check of every outcome.
//!
//! The model keeps frames of broken connections and takes them late, refuses at random, loses confirmed batches
//! of class memory in a crash, and forgets producers. It shares no code with the producer.

use std::collections::{BTreeMap, VecDeque};

use corelane_wire::{Correlation, ErrorCode, Response};

use super::super::super::scripted::{SentBatch, receipt, refusal};
use super::super::super::{Random, Resolution};
use super::Bench;

/// What the broker knows of one producer: the next sequence, and where the last batches are.
#[derive(Clone, Default)]
struct Window {
    next: u64,
    firsts: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Broker {
    log: Vec<String>,
    windows: BTreeMap<u128, Window>,
    /// Frames on the current connection.
    arrived: VecDeque<SentBatch>,
    /// Frames of broken connections that the broker has not read yet.
    stale: Vec<VecDeque<SentBatch>>,
    answers: Vec<(Correlation, Response<'static>)>,
}

impl Broker {
    /// Takes one frame as the design says: validity, then the window, then the log.
    fn take(&mut self, batch: &SentBatch, is_busy: bool) -> Response<'static> {
        if is_busy {
            return refusal(ErrorCode::Busy);
        }
        if batch.bodies.iter().any(|body| body.starts_with("bad")) {
            return refusal(ErrorCode::LimitExceeded);
        }
        let sequence = batch.sequence.0;
        let Some(window) = self.windows.get_mut(&batch.producer.0) else {
            if sequence > 0 {
                return refusal(ErrorCode::UnknownProducer);
            }
            self.windows.insert(batch.producer.0, Window::default());
            return self.take(batch, false);
        };
        let count = u32::try_from(batch.bodies.len()).unwrap();
        if let Some(first) = window.firsts.get(&sequence) {
            return receipt(*first, count);
        }
        if sequence != window.next {
            return refusal(ErrorCode::OutOfSequence);
        }
        let first = self.log.len() as u64;
        window.firsts.insert(sequence, first);
        window.next += 1;
        self.log.extend(batch.bodies.iter().cloned());
        receipt(first, count)
    }
}

struct Run {
    random: Random,
    bench: Bench,
    broker: Broker,
    pushed: u64,
    outcomes: BTreeMap<u64, Resolution>,
    /// Whether the broker may forget or lose; then unknown outcomes and lost batches are allowed.
    is_lossy: bool,
    lost: Vec<String>,
}

impl Run {
    fn new(seed: u64, is_lossy: bool) -> Self {
        Self {
            random: Random::new(u128::from(seed)),
            bench: Bench::with(|config| {
                config.batch_messages_max = 3;
                config.batches_max = 5;
                config.messages_max = 40;
            }),
            broker: Broker::default(),
            pushed: 0,
            outcomes: BTreeMap::new(),
            is_lossy,
            lost: Vec::new(),
        }
    }

    fn step(&mut self, is_calm: bool) {
        let dice = self.random.below(100);
        match dice {
            0..30 if !is_calm => self.push(),
            30..60 => self.broker_takes(is_calm),
            60..63 if !is_calm => self.broker_takes_stale(),
            63..85 => self.answer_one(),
            85..88 if !is_calm => self.break_connection(),
            88..89 if !is_calm && self.is_lossy => self.broker_forgets(),
            _ => self
                .bench
                .wait(std::time::Duration::from_millis(self.random.below(200))),
        }
        let sent = self.bench.drive();
        self.broker.arrived.extend(sent);
        for resolved in self.bench.resolved() {
            for index in 0..u64::from(resolved.count) {
                let ticket = resolved.ticket_first + index;
                let before = self.outcomes.insert(ticket, resolved.resolution.clone());
                assert_eq!(before, None, "ticket {ticket} was settled twice");
            }
        }
    }

    fn push(&mut self) {
        let kind = if self.random.below(12) == 0 {
            "bad"
        } else {
            "good"
        };
        let body = format!("{kind}-{}", self.pushed);
        if self.bench.push(&body).is_ok() {
            self.pushed += 1;
        }
    }

    fn broker_takes(&mut self, is_calm: bool) {
        if let Some(batch) = self.broker.arrived.pop_front() {
            let is_busy = !is_calm && self.random.below(10) == 0;
            let answer = self.broker.take(&batch, is_busy);
            self.broker.answers.push((batch.call, answer));
        }
    }

    fn broker_takes_stale(&mut self) {
        let which = self.random.below(self.broker.stale.len() as u64);
        let queue = usize::try_from(which).unwrap();
        if let Some(batch) = self
            .broker
            .stale
            .get_mut(queue)
            .and_then(VecDeque::pop_front)
        {
            let is_busy = self.random.below(10) == 0;
            self.broker.take(&batch, is_busy);
        }
    }

    /// Any answer may be the next: refusals overtake receipts that wait for the commit.
    fn answer_one(&mut self) {
        if self.broker.answers.is_empty() {
            return;
        }
        let which = self.random.below(self.broker.answers.len() as u64);
        let (call, answer) = self.broker.answers.remove(usize::try_from(which).unwrap());
        self.bench.answer(call, &answer);
    }

    fn break_connection(&mut self) {
        let unread = std::mem::take(&mut self.broker.arrived);
        self.broker.stale.push(unread);
        self.broker.answers.clear();
        self.bench.reconnect();
    }

    /// A crash: old connections are gone, and either the last batch is lost or all producers are forgotten.
    fn broker_forgets(&mut self) {
        self.break_connection();
        self.broker.stale.clear();
        if self.random.below(2) == 0 {
            self.broker.windows.clear();
            return;
        }
        for window in self.broker.windows.values_mut() {
            if let Some((sequence, first)) = window.firsts.pop_last() {
                let is_last_of_log = window.next == sequence + 1;
                if is_last_of_log {
                    window.next = sequence;
                    let first = usize::try_from(first).unwrap();
                    self.lost.push(self.broker.log[first].clone());
                }
            }
        }
    }

    /// Lets everything settle without further trouble.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            if self.bench.producer.messages() == 0 {
                return;
            }
            self.step(true);
        }
        panic!("the producer does not come to rest");
    }

    fn check(&self, seed: u64) {
        assert_eq!(self.outcomes.len() as u64, self.pushed, "seed {seed}");
        let mut last_first = None;
        for (ticket, outcome) in &self.outcomes {
            let good = format!("good-{ticket}");
            let bad = format!("bad-{ticket}");
            let in_log = self.broker.log.iter().filter(|body| **body == good).count();
            assert!(
                !self.broker.log.contains(&bad),
                "seed {seed}: {bad} was taken"
            );
            match outcome {
                Resolution::Confirmed { .. } => {
                    assert!(in_log >= 1, "seed {seed}: {good} is confirmed and lost");
                    assert!(
                        in_log == 1 || self.is_lossy,
                        "seed {seed}: {good} is twice there"
                    );
                    let first = self.broker.log.iter().position(|body| *body == good);
                    assert!(
                        self.is_lossy || first > last_first,
                        "seed {seed}: {good} out of order"
                    );
                    last_first = first;
                }
                Resolution::Refused { .. } | Resolution::NotSent => {
                    assert_eq!(in_log, 0, "seed {seed}: {good} was refused, and is there");
                }
                Resolution::Unknown(_) => {
                    assert!(
                        in_log <= 1 || self.is_lossy,
                        "seed {seed}: {good} is twice there"
                    );
                }
            }
        }
    }
}

#[test]
fn confirmed_is_there_once_in_order_and_refused_is_not() {
    for seed in 0..150 {
        let mut run = Run::new(seed, false);
        for _ in 0..600 {
            run.step(false);
        }
        run.settle();
        run.check(seed);
    }
}

#[test]
fn broker_that_forgets_makes_no_refused_message_appear_and_loses_no_confirmed_one() {
    for seed in 0..150 {
        let mut run = Run::new(seed, true);
        for _ in 0..600 {
            run.step(false);
        }
        run.settle();
        run.check(seed);
    }
}
