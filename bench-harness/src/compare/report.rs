//! What a comparison found.

use serde::Serialize;

use super::{Load, Terms};
use crate::load::{Quantiles, Report, Verdict};
use crate::peers::{Class, Peer};

/// The JSON Schema of [`Comparison`].
pub const SCHEMA: &str = include_str!("../../schema/compare-1.json");

/// All of it; printed as text by [`std::fmt::Display`], and as JSON by serde after [`SCHEMA`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// `corelane-bench/compare/1`.
    pub schema: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// Cores, kernel, file system.
    pub machine: String,
    /// What every confirmation promises.
    pub class: Class,
    /// Core of every broker, if there are two.
    pub broker_core: Option<usize>,
    /// Core of the generator, if there are two.
    pub generator_core: Option<usize>,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// See [`Terms::producers`].
    pub producers: u32,
    /// See [`Terms::consumers`].
    pub consumers: u32,
    /// See [`Terms::window`].
    pub window: u32,
    /// See [`Terms::credit`].
    pub credit: u32,
    /// Measured time of one cell that has a time, in seconds.
    pub seconds: f64,
    /// How often everything was measured.
    pub rounds: u32,
    /// The brokers.
    pub subjects: Vec<Subject>,
    /// A write of 4 KiB with its fdatasync, without a broker.
    pub commit: Floor,
    /// A TCP echo with the bytes of one enqueue, without a broker.
    pub echo: Floor,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subject {
    /// Its name.
    pub peer: &'static str,
    /// Its version, if it is installed.
    pub version: Option<String>,
    /// What is used of it.
    pub shape: &'static str,
    /// How it is started; `DIR` is the folder of the start.
    pub configuration: Vec<String>,
    /// Why it has no figures.
    pub not_available: Option<String>,
}

/// What the machine does without a broker: medians over the rounds, and each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Floor {
    /// Median over the rounds.
    pub p50_us: Option<f64>,
    /// Median over the rounds.
    pub p99_us: Option<f64>,
    /// Each round.
    pub rounds: Vec<Quantiles>,
}

/// One broker under one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The load.
    pub load: String,
    /// The broker.
    pub peer: &'static str,
    /// Medians over the rounds.
    pub median: Figures,
    /// Each round.
    pub rounds: Vec<Figures>,
    /// Why figures of some round are not to be believed, or not what was asked for.
    pub verdicts: Vec<Verdict>,
}

/// The figures of one cell; in an open loop latencies, else none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Messages of the whole cell: confirmed where nobody consumes or the loop is open, else consumed.
    pub messages: Option<f64>,
    /// The same per second of the measured time.
    pub per_second: Option<f64>,
    /// From the intended instant to the confirmation.
    pub confirm_p50_us: Option<f64>,
    /// The same.
    pub confirm_p99_us: Option<f64>,
    /// From the intended instant to the consumer.
    pub deliver_p50_us: Option<f64>,
    /// The same.
    pub deliver_p99_us: Option<f64>,
    /// Processor time of the broker's processes per million messages.
    pub cpu_seconds_per_million: Option<f64>,
}

impl Comparison {
    pub(super) fn new(terms: &Terms, pair: Option<(usize, usize)>, machine: String) -> Self {
        Self {
            schema: "corelane-bench/compare/1",
            command: std::env::args().collect(),
            machine,
            class: terms.class,
            broker_core: pair.map(|(first, _)| first),
            generator_core: pair.map(|(_, last)| last),
            body_bytes: terms.body_bytes,
            producers: terms.producers,
            consumers: terms.consumers,
            window: terms.window,
            credit: terms.credit,
            seconds: terms.duration.as_secs_f64(),
            rounds: terms.rounds,
            subjects: Vec::new(),
            commit: Floor::default(),
            echo: Floor::default(),
            rows: Vec::new(),
        }
    }

    /// Whether a broker lost, duplicated, reordered or changed a message.
    pub fn has_breach(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.verdicts.contains(&Verdict::Breach))
    }

    pub(super) fn add_subject(&mut self, subject: Subject) {
        self.subjects.push(subject);
    }

    pub(super) fn add_floors(&mut self, commit: Quantiles, echo: Quantiles) {
        self.commit.add(commit);
        self.echo.add(echo);
    }

    pub(super) fn available(&self) -> Vec<Peer> {
        let is_available = |peer: &Peer| {
            let mut subjects = self.subjects.iter();
            subjects.any(|subject| subject.peer == peer.name() && subject.not_available.is_none())
        };
        Peer::ALL.into_iter().filter(is_available).collect()
    }

    pub(super) fn add(&mut self, peer: Peer, load: Load, report: &Report) {
        let (load_name, name) = (load.name(), peer.name());
        let mut rows = self.rows.iter();
        let found = rows.position(|row| row.load == load_name && row.peer == name);
        let index = found.unwrap_or_else(|| {
            self.rows.push(Row {
                load: load_name,
                peer: name,
                median: Figures::default(),
                rounds: Vec::new(),
                verdicts: Vec::new(),
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.rounds.push(Figures::of(load, report));
        row.median = Figures::median(&row.rounds);
        for verdict in &report.verdicts {
            if !row.verdicts.contains(verdict) {
                row.verdicts.push(*verdict);
            }
        }
    }
}

impl Floor {
    fn add(&mut self, quantiles: Quantiles) {
        self.rounds.push(quantiles);
        self.p50_us = median(self.rounds.iter().map(|round| round.p50_us));
        self.p99_us = median(self.rounds.iter().map(|round| round.p99_us));
    }
}

impl Figures {
    pub(super) fn of(load: Load, report: &Report) -> Self {
        let account = &report.account;
        let messages = match load {
            Load::Open { .. } | Load::Enqueue => account.confirmed,
            Load::Both | Load::Drain { .. } => account.delivered,
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let messages = messages as f64;
        let millions = messages.max(1.0) / 1e6;
        let (confirm, deliver) = (report.response, report.end_to_end);
        Self {
            messages: Some(messages),
            per_second: Some(load.per_second(report)),
            confirm_p50_us: confirm.and_then(|series| series.p50_us),
            confirm_p99_us: confirm.and_then(|series| series.p99_us),
            deliver_p50_us: deliver.and_then(|series| series.p50_us),
            deliver_p99_us: deliver.and_then(|series| series.p99_us),
            cpu_seconds_per_million: report.broker_cpu_seconds.map(|cpu| cpu / millions),
        }
    }

    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> Option<f64>| median(rounds.iter().map(figure));
        Self {
            messages: of(|round| round.messages),
            per_second: of(|round| round.per_second),
            confirm_p50_us: of(|round| round.confirm_p50_us),
            confirm_p99_us: of(|round| round.confirm_p99_us),
            deliver_p50_us: of(|round| round.deliver_p50_us),
            deliver_p99_us: of(|round| round.deliver_p99_us),
            cpu_seconds_per_million: of(|round| round.cpu_seconds_per_million),
        }
    }
}

/// The middle value, or the mean of the two in the middle; none if one is missing.
pub(super) fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values = values.collect::<Option<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper))
}
