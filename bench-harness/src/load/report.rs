//! What a run found, and whether it may be believed.

use std::time::Duration;

use serde::Serialize;

use super::ledger::Account;
use super::plan::{Loop, Pacing, Plan};
use super::run::Outcome;
use crate::record::Latencies;

/// The JSON Schema of [`Report`].
pub const SCHEMA: &str = include_str!("../../schema/run-1.json");

/// The histograms of a run.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// From the intended instant to the receipt.
    pub response: Latencies,
    /// From the hand-over to the kernel to the receipt.
    pub service: Latencies,
    /// From the intended instant to the hand-over.
    pub send_lag: Latencies,
    /// The part of the send lag during which the window had room: the generator's own.
    pub own_lag: Latencies,
    /// From the intended instant to the consumer.
    pub end_to_end: Latencies,
}

/// Quantiles in microseconds; one that has not 100 samples beyond it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Values recorded.
    pub count: u64,
    /// Half of the values are not greater.
    pub p50_us: Option<f64>,
    /// 90 %.
    pub p90_us: Option<f64>,
    /// 99 %.
    pub p99_us: Option<f64>,
    /// 99.9 %.
    pub p999_us: Option<f64>,
    /// 99.99 %.
    pub p9999_us: Option<f64>,
    /// The greatest value.
    pub max_us: f64,
}

/// How late a thread woke that slept for 1 ms again and again while the run went on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hiccups {
    /// Sleeps.
    pub count: u64,
    /// 99 % of the sleeps ended no later than this.
    pub p99_us: f64,
    /// The latest.
    pub max_us: f64,
}

/// What the machine does without any broker, measured just before the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floors {
    /// A TCP echo with the bytes of one enqueue.
    pub echo: Quantiles,
    /// A write of 4 KiB with its fdatasync, if a folder was named.
    pub commit: Option<Quantiles>,
}

/// One thread of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThreadReport {
    /// Share of the time in which it had something to do.
    pub busy: f64,
}

/// Why a run's numbers are not to be believed, or not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Messages were lost, duplicated, reordered or changed.
    Breach,
    /// The generator was late by itself, or nearly all of its time was taken.
    GeneratorLimited,
    /// The broker refused messages.
    Refused,
    /// The broker did not keep up with the rate.
    Overloaded,
    /// The machine woke sleepers late.
    Noisy,
    /// There are not enough samples for a p99.
    TooFewSamples,
}

/// All of it; printed as text by [`std::fmt::Display`], and as JSON by serde after [`SCHEMA`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `corelane-bench/run/1`.
    pub schema: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// Cores, kernel, file system.
    pub machine: String,
    /// What the broker calls itself.
    pub server: String,
    /// `open`, `closed` or `backlog`.
    pub mode: &'static str,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Messages per enqueue.
    pub batch: u32,
    /// `durable` or `memory`.
    pub class: &'static str,
    /// See [`Plan::producers`].
    pub producers: u32,
    /// See [`Plan::consumers`].
    pub consumers: u32,
    /// See [`Plan::connections`].
    pub connections: u32,
    /// See [`Plan::queues`].
    pub queues: u32,
    /// See [`Plan::window`].
    pub window: u32,
    /// `sleep`, `hybrid` or `spin`.
    pub pacing: &'static str,
    /// Measured time, in seconds; of a backlog, from the coming of the consumers to the last ack.
    pub seconds: f64,
    /// Messages per second that were meant to leave; none but in an open loop.
    pub offered_per_second: Option<u64>,
    /// Messages per second whose receipts came within the measured time; of a backlog, while it was enqueued.
    pub achieved_per_second: f64,
    /// Messages per second that consumers got, and acked at once, within the measured time; none without consumers.
    pub consumed_per_second: Option<f64>,
    /// Time of all processors that the broker used while the generator ran, or while a backlog was drained, if its
    /// processes are known.
    pub broker_cpu_seconds: Option<f64>,
    /// From the intended instant to the receipt; none of the series but in an open loop.
    pub response: Option<Quantiles>,
    /// From the hand-over to the kernel to the receipt.
    pub service: Option<Quantiles>,
    /// From the intended instant to the hand-over.
    pub send_lag: Option<Quantiles>,
    /// The generator's own part of the send lag.
    pub own_lag: Option<Quantiles>,
    /// From the intended instant to the consumer.
    pub end_to_end: Option<Quantiles>,
    /// Messages that are in *response* with their age, for want of an answer.
    pub censored: u64,
    /// Those of them that never left, because the window stayed full.
    pub unsent: u64,
    /// Settlements that came too late for their lease.
    pub stale_acks: u64,
    /// The first refusal, in words.
    pub refusal: Option<String>,
    /// What became of the messages.
    pub account: Account,
    /// The generator's threads.
    pub threads: Vec<ThreadReport>,
    /// Whether the broker runs on this machine too: then both share its cores, and no latency is the broker's alone.
    pub shares_cores: bool,
    /// What the machine added.
    pub hiccups: Hiccups,
    /// What the machine does without a broker.
    pub floors: Option<Floors>,
    /// Why the numbers are not to be believed; empty if they are.
    pub verdicts: Vec<Verdict>,
}

impl Series {
    /// Takes over another thread's values.
    pub fn add(&mut self, other: &Self) {
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.send_lag.add(&other.send_lag);
        self.own_lag.add(&other.own_lag);
        self.end_to_end.add(&other.end_to_end);
    }
}

impl Quantiles {
    /// Of values that come `weight` at a time: the messages of a batch are one sample.
    pub fn of(latencies: &Latencies, weight: u32) -> Self {
        let samples = latencies.count() / u64::from(weight.max(1));
        // With 1 of `beyond` values above the quantile, 100 of them need that many samples.
        let at = |quantile, beyond: u64| {
            (samples >= 100 * beyond).then(|| microseconds(latencies.at(quantile)))
        };
        Self {
            count: latencies.count(),
            p50_us: at(0.5, 2),
            p90_us: at(0.9, 10),
            p99_us: at(0.99, 100),
            p999_us: at(0.999, 1_000),
            p9999_us: at(0.9999, 10_000),
            max_us: microseconds(latencies.max()),
        }
    }
}

impl Hiccups {
    /// From the lateness of every sleep.
    pub fn of(late: &Latencies) -> Self {
        Self {
            count: late.count(),
            p99_us: microseconds(late.at(0.99)),
            max_us: microseconds(late.max()),
        }
    }
}

impl Report {
    pub(super) fn new(plan: &Plan, server: String, outcome: Outcome) -> Self {
        let book = outcome.book;
        let mut account = book.ledger.account(plan.consumers > 0);
        account.reordered = book.reordered;
        account.corrupt = book.corrupt;
        let series = |latencies: &Latencies, weight| {
            plan.is_open().then(|| Quantiles::of(latencies, weight))
        };
        let (answered, consumed) = if plan.is_backlog() {
            (book.confirmed, book.delivered)
        } else {
            (book.answered, book.consumed)
        };
        let mut report = Self {
            schema: "corelane-bench/run/1",
            command: std::env::args().collect(),
            machine: String::new(),
            server,
            mode: mode_name(plan.mode),
            body_bytes: plan.body_bytes,
            batch: plan.batch,
            class: class_name(plan),
            producers: plan.producers,
            consumers: plan.consumers,
            connections: plan.connections,
            queues: plan.queues,
            window: plan.window,
            pacing: pacing_name(plan.pacing),
            seconds: outcome.consuming.as_secs_f64(),
            offered_per_second: offered(plan),
            achieved_per_second: per_second(answered, outcome.enqueuing),
            consumed_per_second: (plan.consumers > 0)
                .then(|| per_second(consumed, outcome.consuming)),
            broker_cpu_seconds: outcome.cpu.map(|cpu| cpu.as_secs_f64()),
            response: series(&book.series.response, plan.batch),
            service: series(&book.series.service, plan.batch),
            send_lag: series(&book.series.send_lag, plan.batch),
            own_lag: series(&book.series.own_lag, plan.batch),
            end_to_end: series(&book.series.end_to_end, plan.batch).filter(|_| plan.consumers > 0),
            censored: book.censored,
            unsent: book.unsent,
            stale_acks: book.stale,
            refusal: book.refusal,
            account,
            threads: outcome.threads,
            shares_cores: plan.target.ip().is_loopback(),
            hiccups: outcome.hiccups,
            floors: None,
            verdicts: Vec::new(),
        };
        let own_p99_us = microseconds(book.series.own_lag.at(0.99));
        report.judge(plan, own_p99_us);
        report
    }

    /// Finds every reason not to believe the numbers.
    fn judge(&mut self, plan: &Plan, own_p99_us: f64) {
        let objective_us = microseconds(plan.objective);
        let is_busy = self.threads.iter().any(|one| one.busy > BUSY_MAX);
        let is_late = plan.is_open() && own_p99_us > objective_us * OWN_LAG_SHARE_MAX;
        let lacks_samples = self.response.is_some_and(|series| series.p99_us.is_none());
        let reasons = [
            (!self.account.is_intact(), Verdict::Breach),
            (is_busy || is_late, Verdict::GeneratorLimited),
            (self.account.refused > 0, Verdict::Refused),
            (self.is_overloaded(plan), Verdict::Overloaded),
            (
                plan.is_open() && self.hiccups.p99_us > objective_us * HICCUP_SHARE_MAX,
                Verdict::Noisy,
            ),
            (lacks_samples, Verdict::TooFewSamples),
        ];
        let found = reasons.into_iter().filter(|(holds, _)| *holds);
        self.verdicts = found.map(|(_, verdict)| verdict).collect();
    }

    /// Whether fewer receipts came than were due, by more than what may be on its way at both ends.
    fn is_overloaded(&self, plan: &Plan) -> bool {
        let Loop::Open { per_second } = plan.mode else {
            return false;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with a margin of 0.5 %"
        )]
        let offered = per_second as f64;
        let edges = f64::from(2 * plan.batch * plan.producers) + offered * EDGE_SECONDS;
        let achieved = self.achieved_per_second * self.seconds;
        achieved + edges < offered * self.seconds * ACHIEVED_SHARE_MIN
    }
}

impl Verdict {
    /// The exit code of a run for which this is the first reason.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::GeneratorLimited => 21,
            Self::Breach => 22,
            Self::Overloaded => 23,
            Self::Noisy => 24,
            Self::TooFewSamples => 25,
            Self::Refused => 26,
        }
    }

    /// As in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breach => "breach",
            Self::GeneratorLimited => "generator-limited",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Noisy => "noisy",
            Self::TooFewSamples => "too-few-samples",
        }
    }

    /// What is wrong, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Breach => "BREACH: messages were lost, duplicated, reordered or changed",
            Self::GeneratorLimited => {
                "GENERATOR-LIMITED: the generator was late by itself or had no time left"
            }
            Self::Refused => "REFUSED: the broker refused messages",
            Self::Overloaded => "OVERLOADED: the broker did not keep up with the rate",
            Self::Noisy => "NOISY: the machine woke sleepers late",
            Self::TooFewSamples => "TOO FEW SAMPLES: a p99 needs 10,000 enqueues",
        }
    }
}

/// The exit code of a run with these verdicts; those in `accepted` do not count, but a breach always does.
pub fn exit_code(verdicts: &[Verdict], accepted: &[Verdict]) -> u8 {
    let counts = |verdict: &&Verdict| **verdict == Verdict::Breach || !accepted.contains(verdict);
    let first = verdicts.iter().find(counts);
    first.map_or(0, |verdict| verdict.exit_code())
}

fn offered(plan: &Plan) -> Option<u64> {
    match plan.mode {
        Loop::Open { per_second } => Some(per_second),
        Loop::Closed | Loop::Backlog { .. } => None,
    }
}

const fn mode_name(mode: Loop) -> &'static str {
    match mode {
        Loop::Open { .. } => "open",
        Loop::Closed => "closed",
        Loop::Backlog { .. } => "backlog",
    }
}

const fn class_name(plan: &Plan) -> &'static str {
    if plan.is_memory_only {
        "memory-only"
    } else if plan.class == corelane_wire::CLASS_DURABLE {
        "durable"
    } else {
        "memory"
    }
}

const fn pacing_name(pacing: Pacing) -> &'static str {
    match pacing {
        Pacing::Sleep => "sleep",
        Pacing::Hybrid => "hybrid",
        Pacing::Spin => "spin",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown with a few digits"
)]
fn per_second(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64()
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A generator that works for more of its time is late soon, whether it shows or not.
const BUSY_MAX: f64 = 0.85;
/// What the generator may add to an objective, at its p99.
const OWN_LAG_SHARE_MAX: f64 = 0.05;
/// What the machine may add.
const HICCUP_SHARE_MAX: f64 = 0.25;
const ACHIEVED_SHARE_MIN: f64 = 0.995;
/// What may be on its way when the measured time begins and ends.
const EDGE_SECONDS: f64 = 0.01;
