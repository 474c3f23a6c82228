use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn a_stretch_is_earned_before_the_next_one_begins() {
    let pace = ScrubPace::daily(8 * MIB);
    let begun = Timestamp::from_millis(1_000);
    assert_eq!(pace.next(begun, 0), begun);
    assert_eq!(pace.next(begun, MIB), Timestamp::from_millis(1_125));
    assert_eq!(pace.next(begun, 8 * MIB), Timestamp::from_millis(2_000));
    // Slower than a stretch a day is a pace too.
    let crawl = ScrubPace::daily(1);
    assert_eq!(
        crawl.next(begun, 86_400),
        begun.add(Duration::from_hours(24))
    );
}

#[test]
fn whatever_stretches_there_are_and_however_long_they_take_the_limit_holds() {
    let pace = ScrubPace::daily(3 * MIB);
    let (mut now, mut read) = (Timestamp(0), 0);
    for step in 0..10_000_u64 {
        // Everything that was read before is paid for when a stretch begins.
        assert!(u128::from(read) * 1_000_000_000 <= u128::from(now.0 + step) * u128::from(3 * MIB));
        let bytes = step * 7_919 % MIB + 1;
        let took = Duration::from_micros(step * 104_729 % 600_000);
        now = pace.next(now, bytes).max(now.add(took));
        read += bytes;
    }
    assert!(read > 100 * MIB);
}
