use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Looks once a second, `times` times, at counters that `turns` makes of the second.
fn look_for(
    watchdog: &mut Watchdog,
    begun: Instant,
    seconds: std::ops::Range<u32>,
    turns: impl Fn(u32) -> Vec<u64>,
) -> Option<(u32, Stuck)> {
    seconds.into_iter().find_map(|second| {
        let stuck = watchdog.look(begun + SECOND * second, &turns(second))?;
        Some((second, stuck))
    })
}

#[test]
fn living_shards_are_left_alone() {
    let mut watchdog = Watchdog::new(2, SECOND * 10, SECOND);
    let turns = |second: u32| vec![u64::from(second) + 1, u64::from(second) * 1_000 + 1];
    assert_eq!(look_for(&mut watchdog, Instant::now(), 0..100, turns), None);
}

#[test]
fn shard_that_stands_still_for_the_limit_is_named() {
    let mut watchdog = Watchdog::new(2, SECOND * 10, SECOND);
    let turns = |second: u32| vec![u64::from(second) + 1, u64::from(second.min(5)) + 1];
    let (second, stuck) = look_for(&mut watchdog, Instant::now(), 0..100, turns).unwrap();
    assert_eq!(second, 15);
    assert_eq!(stuck.shard, 1);
    assert_eq!(stuck.stood, SECOND * 10);
}

#[test]
fn shard_that_never_began_is_named_too() {
    let mut watchdog = Watchdog::new(1, SECOND * 10, SECOND);
    let found = look_for(&mut watchdog, Instant::now(), 0..100, |_| vec![0]);
    assert_eq!(found.unwrap().0, 10);
}

#[test]
fn time_in_which_the_watchdog_itself_stood_still_does_not_count() {
    let mut watchdog = Watchdog::new(1, SECOND * 10, SECOND);
    let begun = Instant::now();
    assert_eq!(look_for(&mut watchdog, begun, 0..6, |_| vec![7]), None);
    // The machine slept for an hour.
    let resumed = begun + SECOND * 3_600;
    assert_eq!(watchdog.look(resumed, &[7]), None);
    let found = look_for(&mut watchdog, resumed, 1..100, |_| vec![7]);
    assert_eq!(found.unwrap().0, 5);
}

#[test]
fn zero_limit_never_bites_but_still_measures() {
    let mut watchdog = Watchdog::new(1, Duration::ZERO, SECOND);
    let found = look_for(&mut watchdog, Instant::now(), 0..100, |_| vec![1]);
    assert_eq!(found, None);
    assert_eq!(watchdog.slowest().unwrap().stood, SECOND * 99);
}
