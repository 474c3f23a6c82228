//! The long backlog in small: every message is accounted for through the kill.

use std::time::Duration;

use corelane_tests::backlog::{Plan, run};
use corelane_tests::process::BrokerOptions;

#[test]
fn a_backlog_with_acks_leases_and_delays_comes_back_whole() {
    let home = tempfile::tempdir().unwrap();
    let options = BrokerOptions::beside_this_program(home.path()).unwrap();
    let plan = Plan {
        messages: 20_000,
        bytes: 256,
        queues: 4,
        acked_every: Some(2),
        leased: 2_000,
        delayed: 1_000,
        delay: Duration::from_secs(1),
        is_settled: false,
    };
    let report = run(&plan, home.path(), &options).unwrap();
    assert!(report.is_good(), "{report}");
    assert_eq!(report.live_bytes, 10_000 * 256, "{report}");
    assert_eq!(report.duplicates, 0, "{report}");
}
