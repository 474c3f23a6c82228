use corelane_tests::control::{counter, wait_for};
use corelane_tests::lossy::Mount;
use corelane_tests::process::{Broker, BrokerOptions};
use corelane_tests::raw::Refused;
use corelane_wire::ErrorCode;

use crate::{bodies, connect};

#[test]
fn a_sync_that_does_not_return_is_told_about_then_poisons_and_a_restart_heals() {
    let home = tempfile::tempdir().unwrap();
    let mount = Mount::new(home.path()).unwrap();
    let mut options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    options.arguments = ["--write-timeout", "2s"].map(str::to_owned).to_vec();
    let broker = Broker::start(&options).unwrap();
    let mut connection = connect(broker.address);
    connection.enqueue("q", &["confirmed"]).unwrap();

    let held = mount.hold_syncs();
    let mut waiting = connect(broker.address);
    let unknown = std::thread::spawn(move || waiting.enqueue("q", &["unknown"]));
    let (status, body) =
        wait_for(broker.control, "/readyz", |body| body.contains("stalled")).unwrap();
    assert_eq!(status, 200, "{body}");
    let (status, body) = wait_for(broker.control, "/readyz", |body| {
        body.contains("\"code\":\"poisoned\"")
    })
    .unwrap();
    assert_eq!(status, 200, "{body}");
    // Its answer is not known: the connection ends with a fault.
    let fault = unknown.join().unwrap().unwrap_err().to_string();
    assert!(fault.starts_with("Fault {"), "{fault}");
    drop(held);
    let (_, metrics) = wait_for(broker.control, "/metrics", |body| {
        counter(body, "corelane_partitions_stalled").unwrap() == 0
    })
    .unwrap();
    assert_eq!(
        counter(&metrics, "corelane_commit_stalls_total").unwrap(),
        1
    );
    assert_eq!(
        counter(&metrics, "corelane_partitions_poisoned").unwrap(),
        1
    );
    let refused = connection.enqueue("q", &["refused"]).unwrap_err();
    let refused = refused.downcast::<Refused>().unwrap();
    assert_eq!(refused.code, ErrorCode::Poisoned);
    broker.kill().unwrap();

    let broker = Broker::start(&options).unwrap();
    let mut connection = connect(broker.address);
    let taken = connection.dequeue("q", 10, 30_000, 0).unwrap();
    let found = bodies(&taken);
    assert!(
        found == ["confirmed"] || found == ["confirmed", "unknown"],
        "{found:?}"
    );
}
