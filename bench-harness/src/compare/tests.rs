use std::time::Duration;

use serde_json::Value;

use super::report::{Comparison, Figures, SCHEMA, Subject, median};
use super::{Load, Terms};
use crate::load::{self, Loop, Pacing, Plan, Quantiles, Report, Verdict};
use crate::peers::{Class, Peer};
use crate::responder::{Responder, ResponderOptions};

fn terms() -> Terms {
    Terms {
        peers: vec![Peer::Redis, Peer::Nats],
        class: Class::Durable,
        corelane: "corelane".into(),
        folder: ".".into(),
        loads: vec![Load::Open { per_second: 1_000 }],
        rounds: 3,
        body_bytes: 256,
        producers: 1,
        consumers: 1,
        window: 256,
        credit: 1_000,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(10),
        drain: Duration::from_secs(10),
        pacing: Pacing::Sleep,
    }
}

/// The report of a run of 20 messages, with this median instead of its own.
fn report(p50_us: f64, verdicts: Vec<Verdict>) -> Report {
    let responder = Responder::start(ResponderOptions::default()).unwrap();
    let plan = Plan {
        mode: Loop::Open { per_second: 1_000 },
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(20),
        ..Plan::new(responder.address(), 1)
    };
    let mut report = load::run(&plan).unwrap();
    report.response = Some(Quantiles {
        p50_us: Some(p50_us),
        ..Quantiles::default()
    });
    report.broker_cpu_seconds = Some(0.000_02);
    report.verdicts = verdicts;
    report
}

fn subject(peer: Peer, not_available: Option<&str>) -> Subject {
    Subject {
        peer: peer.name(),
        version: not_available.is_none().then(|| "1.2".to_owned()),
        shape: peer.shape(),
        configuration: vec!["--dir DIR".to_owned()],
        not_available: not_available.map(str::to_owned),
    }
}

fn table() -> Comparison {
    let mut table = Comparison::new(&terms(), Some((0, 1)), "a machine".to_owned());
    table.add_subject(subject(Peer::Redis, None));
    table.add_subject(subject(Peer::Nats, Some("it is not installed")));
    let load = Load::Open { per_second: 1_000 };
    for (p50_us, verdicts) in [
        (300.0, vec![Verdict::Noisy]),
        (100.0, vec![]),
        (200.0, vec![Verdict::Noisy]),
    ] {
        table.add_floors(Quantiles::default(), Quantiles::default());
        table.add(Peer::Redis, load, &report(p50_us, verdicts));
    }
    table
}

#[test]
fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
    let of = |values: &[f64]| median(values.iter().copied().map(Some));
    assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(of(&[]), None);
    // Of a figure that some round lacks there is no median.
    assert_eq!(median([Some(1.0), None].into_iter()), None);
}

#[test]
fn a_row_has_the_medians_of_its_rounds_and_each_verdict_once() {
    let table = table();
    let [row] = &table.rows[..] else {
        panic!("one broker, one load: {table}");
    };
    assert_eq!(
        (row.rounds.len(), row.median.confirm_p50_us),
        (3, Some(200.0))
    );
    // 20 messages took 20 us of processor time.
    assert_eq!(
        row.median.cpu_seconds_per_million.map(f64::round),
        Some(1.0)
    );
    assert_eq!(row.verdicts, [Verdict::Noisy]);
    assert!(!table.has_breach());
}

#[test]
fn one_that_is_not_available_has_its_reason_and_no_figures() {
    let table = table();
    assert_eq!(table.available(), [Peer::Redis]);
    let text = table.to_string();
    assert!(
        text.contains("not available: it is not installed"),
        "{text}"
    );
    assert!(text.contains("redis 1.2"), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("nats -") && line.contains("durable"));
    assert!(line.unwrap().ends_with("not available"), "{text}");
}

#[test]
fn what_consumers_take_is_the_figure_where_there_are_consumers() {
    let mut report = report(1.0, Vec::new());
    report.achieved_per_second = 10.0;
    report.consumed_per_second = Some(5.0);
    let per_second = |load| Figures::of(load, &report).per_second;
    assert_eq!(per_second(Load::Enqueue), Some(10.0));
    assert_eq!(per_second(Load::Both), Some(5.0));
    assert_eq!(per_second(Load::Drain { messages: 3 }), Some(5.0));
}

#[test]
fn the_json_of_a_comparison_agrees_with_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut value = serde_json::to_value(table()).unwrap();
    crate::schema::check(&value, &schema, "table").unwrap();
    value["rows"][0]["peer"] = Value::from("kafka");
    crate::schema::check(&value, &schema, "table").unwrap_err();
}
