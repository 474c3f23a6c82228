use super::*;
use crate::ids::{QueueId, SubscriptionId};

const KEY: SubscriptionKey = (QueueId(1), SubscriptionId(2));
const T0: Timestamp = Timestamp(1_000_000_000_000);

fn at(millis: u64) -> Timestamp {
    T0.add(Duration::from_millis(millis))
}

#[test]
fn a_burst_is_a_tenth_of_a_second_and_then_one_by_one() {
    let mut throttle = Throttle::default();
    assert_eq!(throttle.allowance(KEY, 1_000, T0), 100);
    throttle.take(KEY, 1_000, T0, 100);
    assert_eq!(throttle.allowance(KEY, 1_000, T0), 0);
    throttle.wait(KEY, 1_000, T0);
    assert_eq!(throttle.next_due(), Some(at(1)));
    assert_eq!(throttle.pop_due(T0), None);
    assert_eq!(throttle.pop_due(at(1)), Some(KEY));
    assert_eq!(throttle.allowance(KEY, 1_000, at(1)), 1);
    assert_eq!(throttle.allowance(KEY, 1_000, at(50)), 50);
    assert_eq!(throttle.allowance(KEY, 1_000, at(5_000)), 100);
    throttle.take(KEY, 1_000, at(5_000), 100);
    assert_eq!(
        throttle.allowance(KEY, 1_000, at(5_000)),
        0,
        "after a pause"
    );
}

#[test]
fn slow_rates_give_one_message_at_a_time() {
    let mut throttle = Throttle::default();
    for second in [0, 1, 2] {
        let now = at(second * 1_000);
        assert_eq!(throttle.allowance(KEY, 1, now), 1, "{second}");
        throttle.take(KEY, 1, now, 1);
        assert_eq!(throttle.allowance(KEY, 1, now), 0, "{second}");
        throttle.wait(KEY, 1, now);
        let due = now.add(Duration::from_secs(1));
        assert_eq!(throttle.pop_due(due), Some(KEY));
    }
}

#[test]
fn the_greatest_rate_is_as_good_as_none() {
    let mut throttle = Throttle::default();
    assert_eq!(throttle.allowance(KEY, u32::MAX, T0), 100_000_000);
    throttle.take(KEY, u32::MAX, T0, u32::MAX);
    assert_eq!(throttle.allowance(KEY, u32::MAX, at(10_000)), 100_000_000);
}
