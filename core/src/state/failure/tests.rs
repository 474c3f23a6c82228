use super::*;

const CONFIG: SubscriptionConfig = SubscriptionConfig {
    backoff_ms: 1_000,
    backoff_max_ms: 60_000,
    ..SubscriptionConfig::PLAIN
};

#[test]
fn back_off_doubles_up_to_its_bound_and_keeps_to_the_upper_half() {
    for attempt in 1..100 {
        let full = (1_000 << (attempt - 1).min(20)).min(60_000);
        let all = (0..200).map(|first| backoff_ms(CONFIG, attempt, mix(7, first)));
        let all: Vec<u64> = all.collect();
        let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(
            full / 2 <= *least && *most <= full,
            "{attempt}: {least} {most}"
        );
        assert!(most - least > full / 4, "{attempt}: {least} {most}");
    }
}

#[test]
fn back_off_of_nothing_is_nothing_and_the_greatest_does_not_overflow() {
    let none = SubscriptionConfig::default();
    assert_eq!(backoff_ms(none, 9, u64::MAX), 0);
    let greatest = SubscriptionConfig {
        backoff_ms: DELAY_MS_MAX,
        backoff_max_ms: 0,
        ..none
    };
    let delay = backoff_ms(greatest, u32::MAX, u64::MAX);
    assert!((DELAY_MS_MAX / 2..=DELAY_MS_MAX).contains(&delay));
    let least = SubscriptionConfig {
        backoff_ms: 1,
        backoff_max_ms: 1,
        ..none
    };
    assert_eq!(backoff_ms(least, 5, u64::MAX), 1, "never 0");
}
