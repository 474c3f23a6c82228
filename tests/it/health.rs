use corelane_tests::control::{counter, get};

use crate::Fixture;

#[test]
fn a_serving_broker_is_live_and_ready() {
    let fixture = Fixture::start();
    assert_eq!(get(fixture.broker.control, "/livez").unwrap().0, 200);
    assert_eq!(get(fixture.broker.control, "/readyz").unwrap().0, 200);
    assert_eq!(get(fixture.broker.control, "/nothing").unwrap().0, 404);
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
    let (status, metrics) = get(fixture.broker.control, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert_eq!(counter(&metrics, "corelane_enqueues_total").unwrap(), 1);
    assert_eq!(
        counter(&metrics, "corelane_messages_delivered_total").unwrap(),
        2
    );
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("corelane_"), "{line}");
    }
}
