use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Fixture;

pub(crate) fn get(control: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(control).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn value(metrics: &str, name: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'))
        .map(|line| {
            line.rsplit(' ')
                .next()
                .unwrap()
                .trim_end_matches(".0")
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}

#[test]
fn a_serving_broker_is_live_and_ready() {
    let fixture = Fixture::start();
    assert_eq!(get(fixture.broker.control, "/livez").0, 200);
    assert_eq!(get(fixture.broker.control, "/readyz").0, 200);
    assert_eq!(get(fixture.broker.control, "/nothing").0, 404);
}

#[test]
fn metrics_count_what_went_through() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["a", "b", "c"]).unwrap();
    let taken = connection.dequeue("q", 2, 30_000, 0).unwrap();
    assert_eq!(taken.len(), 2);
    // The counters are stored at the end of a turn; one more exchange makes sure that it ended.
    connection.ack("q", &taken[0]).unwrap();
    let (status, metrics) = get(fixture.broker.control, "/metrics");
    assert_eq!(status, 200);
    assert_eq!(value(&metrics, "corelane_enqueues_total"), 1);
    assert_eq!(value(&metrics, "corelane_messages_delivered_total"), 2);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("corelane_"), "{line}");
    }
}
