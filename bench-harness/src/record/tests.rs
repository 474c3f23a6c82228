use std::time::Duration;

use super::Latencies;

#[test]
fn quantiles_are_within_a_thousandth() {
    let mut odd = Latencies::default();
    let mut even = Latencies::default();
    for microseconds in (1..=1000).step_by(2) {
        odd.record(Duration::from_micros(microseconds));
        even.record(Duration::from_micros(microseconds + 1));
    }
    odd.add(&even);
    assert_eq!(odd.count(), 1000);
    let median = odd.at(0.5).as_nanos();
    assert!((499_000..=501_000).contains(&median), "{median}");
    let late = odd.at(0.99).as_nanos();
    assert!((989_000..=991_000).contains(&late), "{late}");
}
