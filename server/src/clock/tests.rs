use super::*;

const SECOND: u64 = 1_000_000_000;

fn stretch(anchor: u64, base: u64, rate_ppm: i64) -> Stretch {
    Stretch {
        anchor,
        base,
        rate_ppm,
    }
}

#[test]
fn unslewed_time_follows_the_monotonic_clock() {
    let still = stretch(5 * SECOND, 100 * SECOND, 0);
    assert_eq!(still.at(5 * SECOND), 100 * SECOND);
    assert_eq!(still.at(8 * SECOND), 103 * SECOND);
}

#[test]
fn large_step_of_the_wall_clock_slews_at_the_limit() {
    let (next, distance) = stretch(0, 100 * SECOND, 0).towards(0, 200 * SECOND);
    assert_eq!(distance, 100 * 1_000_000_000);
    assert_eq!(next.rate_ppm, 500);
    let (next, _) = stretch(0, 100 * SECOND, 0).towards(0, 50 * SECOND);
    assert_eq!(next.rate_ppm, -500);
    assert_eq!(next.at(SECOND), 100 * SECOND + SECOND - SECOND / 2000);
}

#[test]
fn small_distance_is_worked_off_over_ten_seconds() {
    // 1 ms over 10 s is 100 ppm.
    let (next, _) = stretch(0, 100 * SECOND, 0).towards(0, 100 * SECOND + 1_000_000);
    assert_eq!(next.rate_ppm, 100);
}

#[test]
fn change_of_rate_is_continuous_and_never_goes_back() {
    let mut present = stretch(0, 1_000 * SECOND, 0);
    let mut last = 0;
    for step in 1..2_000_u64 {
        let monotonic = step * SECOND / 10;
        // The wall clock jumps back and forth by minutes.
        let jump = if step % 7 < 3 { 0 } else { 600 * SECOND };
        let before = present.at(monotonic);
        present = present
            .towards(monotonic, 700 * SECOND + jump + monotonic)
            .0;
        assert_eq!(present.at(monotonic), before);
        assert!(before > last);
        last = before;
    }
}

#[test]
fn node_time_converges_on_the_wall_clock() {
    let mut present = stretch(0, 1_000 * SECOND, 0);
    let wall_at_zero = 1_000 * SECOND + 2_000_000;
    for step in 1..200_u64 {
        present = present
            .towards(step * SECOND, wall_at_zero + step * SECOND)
            .0;
    }
    let distance = (wall_at_zero + 200 * SECOND).abs_diff(present.at(200 * SECOND));
    assert!(distance < 100_000, "still {distance} ns apart");
}

#[test]
fn shared_clock_reads_near_the_wall_clock_and_rises_while_it_is_disciplined() {
    let clock = Clock::start();
    let other = clock.clone();
    let reader = std::thread::spawn(move || {
        let first = other.now();
        let mut last = first;
        for _ in 0..100_000 {
            let now = other.now();
            // Readings may differ by what a change of rate does to a reading in progress.
            assert!(now.0 + 1_000_000 > last.0);
            last = last.max(now);
        }
        last.0 - first.0
    });
    for _ in 0..1_000 {
        assert!(clock.discipline().unsigned_abs() < SECOND);
    }
    assert!(reader.join().unwrap() > 0);
    assert!(clock.now().0.abs_diff(wall_now()) < SECOND);
}
