use corelane_wire::PartitionId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::stats::{Counters, Illness};

fn observed(shards: &[Counters]) -> Arc<Observed> {
    let publish = |counters: &Counters| {
        let stats = Arc::new(ShardStats::default());
        stats.publish(counters);
        stats
    };
    let stats = shards.iter().map(publish).collect();
    let drivers = shards.iter().map(|_| Arc::new(DriverStats::default()));
    Arc::new(Observed::new(Clock::start(), stats, drivers.collect()))
}

fn serving(partitions: u64) -> Counters {
    Counters {
        turns_total: 7,
        partitions,
        partitions_serving: partitions,
        ..Counters::default()
    }
}

/// Status and body of a request to a control port.
fn get_route(observed: &Arc<Observed>, path: &str) -> (StatusCode, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let server = tokio::spawn(serve(listener, Arc::clone(observed)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    })
}

fn get_json(observed: &Arc<Observed>, path: &str) -> (StatusCode, Value) {
    let (status, body) = get_route(observed, path);
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn broker_that_serves_is_live_and_ready() {
    let observed = observed(&[serving(4), serving(4)]);
    let live = json!({"v": 1, "live": true, "slowest_shard_ms": 0});
    assert_eq!(get_json(&observed, "/livez"), (StatusCode::OK, live));
    let counts = json!({"total": 8, "serving": 8, "poisoned": 0, "damaged": 0});
    let ready = json!({"v": 1, "ready": true, "reasons": [], "partitions": counts});
    assert_eq!(get_json(&observed, "/readyz"), (StatusCode::OK, ready));
}

#[test]
fn sick_partitions_are_listed_but_do_not_fail_the_node() {
    let sick = Counters {
        partitions_serving: 2,
        partitions_poisoned: 1,
        partitions_damaged: 1,
        ..serving(4)
    };
    let observed = observed(&[serving(4), sick]);
    observed.shards[1].add_ill(PartitionId(7), Illness::Poisoned);
    observed.shards[1].add_ill(PartitionId(1), Illness::Damaged);
    observed.shards[0].add_ill(PartitionId(2), Illness::PartlyDamaged);
    observed.shards[0].add_ill(PartitionId(3), Illness::Stalled);
    let (status, body) = get_json(&observed, "/readyz");
    assert_eq!(status, StatusCode::OK);
    let reasons = body["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 4);
    assert_eq!(reasons[0]["code"], "poisoned");
    assert_eq!(reasons[0]["partitions"], json!([7]));
    assert_eq!(reasons[1]["code"], "damaged");
    assert_eq!(reasons[1]["partitions"], json!([1]));
    assert_eq!(reasons[2]["code"], "partly_damaged");
    assert_eq!(reasons[2]["partitions"], json!([2]));
    assert_eq!(reasons[3]["code"], "stalled");
    assert_eq!(reasons[3]["partitions"], json!([3]));
}

#[test]
fn refused_time_jump_is_told_by_health_and_metrics() {
    let late = Counters {
        time_jumps_refused: 3,
        ..serving(4)
    };
    let observed = observed(&[serving(4), late]);
    let (status, body) = get_json(&observed, "/readyz");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["reasons"][0]["code"], "time_jump_refused");
    let text = body["reasons"][0]["text"].as_str().unwrap();
    assert!(text.contains("log: 3;"), "{text}");
    let (_, metrics) = get_route(&observed, "/metrics");
    let line = "corelane_time_jumps_refused{shard=\"1\"} 3.0";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn messages_that_are_not_accounted_for_are_an_alarm() {
    let broken = Counters {
        messages_unaccounted: 2,
        ..serving(4)
    };
    let observed = observed(&[broken, serving(4)]);
    let (status, body) = get_json(&observed, "/readyz");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["reasons"][0]["code"], "messages_unaccounted");
    let text = body["reasons"][0]["text"].as_str().unwrap();
    assert!(text.contains("in two: 2;"), "{text}");
    let (_, metrics) = get_route(&observed, "/metrics");
    let line = "corelane_messages_unaccounted{shard=\"0\"} 2.0";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn node_without_a_serving_partition_is_not_ready() {
    let starting = Counters {
        partitions_serving: 0,
        ..serving(4)
    };
    let (status, body) = get_json(&observed(&[starting]), "/readyz");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["reasons"][0]["code"], "starting");
}

#[test]
fn node_that_stops_is_not_ready_but_alive() {
    let observed = observed(&[serving(4)]);
    observed.stopping.store(true, Ordering::Relaxed);
    let (status, body) = get_json(&observed, "/readyz");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["reasons"][0]["code"], "stopping");
    assert_eq!(get_json(&observed, "/livez").0, StatusCode::OK);
}

#[test]
fn shard_that_stands_still_fails_the_liveness_probe() {
    let observed = observed(&[serving(4)]);
    observed.slowest_ms.store(6_000, Ordering::Relaxed);
    let (status, body) = get_json(&observed, "/livez");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["slowest_shard_ms"], 6_000);
}

#[test]
fn every_metric_is_documented_once_and_has_a_value_per_shard() {
    let observed = observed(&[serving(3), serving(5)]);
    observed.drivers[1]
        .commit
        .record(Duration::from_micros(150));
    let (status, text) = get_route(&observed, "/metrics");
    assert_eq!(status, StatusCode::OK);
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "corelane_turns_total{shard=\"0\"} 7.0",
        "corelane_partitions_serving{shard=\"1\"} 5.0",
        "corelane_commit_seconds_bucket{le=\"0.0001\",shard=\"1\"} 0",
        "corelane_commit_seconds_bucket{le=\"0.0002\",shard=\"1\"} 1",
        "corelane_commit_seconds_bucket{le=\"+Inf\",shard=\"1\"} 1",
        "corelane_commit_seconds_count{shard=\"1\"} 1",
        "corelane_received_bytes_total{shard=\"0\"} 0.0",
        "corelane_ready 1.0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let manual = include_str!("../../../docs/metrics.md");
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(names.insert(name.to_owned()), "{name} twice");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let shown = format!("`{name}{suffix}`");
        assert!(manual.contains(&shown), "docs/metrics.md lacks {shown}");
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help"
        );
    }
}

#[test]
fn watchdog_looks_often_enough() {
    assert_eq!(period_for(Duration::from_secs(10)), Duration::from_secs(1));
    assert_eq!(
        period_for(Duration::from_secs(1)),
        Duration::from_millis(100)
    );
    assert_eq!(period_for(Duration::from_millis(1)), SHORTEST_PERIOD);
    assert_eq!(period_for(Duration::ZERO), LONGEST_PERIOD);
}

#[test]
fn silent_connections_take_the_places_of_others_only_for_a_while() {
    let observed = observed(&[serving(4)]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let bounded = Bounded::new(listener, 2, Duration::from_millis(50));
        let server = tokio::spawn(axum::serve(bounded, routes(observed)).into_future());
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        for mut stream in silent {
            let mut rest = Vec::new();
            assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
        }
        server.abort();
    });
}
