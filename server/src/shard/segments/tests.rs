use super::*;

const SMALL: u64 = 4;
const LARGE: u64 = 64;
const NOW: Timestamp = Timestamp(10_000_000_000);
const P: PartitionId = PartitionId(3);

fn spares(ready: &[(SpareId, u64)]) -> Spares {
    Spares::new(ShardId(1), 2, SMALL, ready.to_vec())
}

fn make(spare: u32, bytes: u64) -> (Task, u64) {
    let spare = SpareId(spare);
    (Task::MakeSpare { spare, bytes }, bytes)
}

fn install(spare: u32, segment: u32, bytes: u64) -> (Task, u64) {
    let task = Task::Install {
        spare: SpareId(spare),
        partition: P,
        segment: SegmentNumber(segment),
    };
    (task, bytes)
}

#[test]
fn small_spares_are_made_ahead_one_at_a_time_with_numbers_of_this_shard() {
    let mut spares = spares(&[]);
    assert_eq!(spares.next_task(NOW), Some(make(1, SMALL)));
    assert_eq!(spares.next_task(NOW), None);
    spares.made(NOW, SpareId(1), SMALL, true);
    assert_eq!(spares.next_task(NOW), Some(make(3, SMALL)));
    spares.made(NOW, SpareId(3), SMALL, true);
    assert_eq!(spares.next_task(NOW), None);
}

#[test]
fn a_wanted_segment_gets_the_smallest_spare_that_is_large_enough() {
    let mut spares = spares(&[
        (SpareId(1), LARGE),
        (SpareId(3), SMALL),
        (SpareId(5), SMALL),
    ]);
    spares.want(P, SegmentNumber(0), SMALL);
    assert_eq!(spares.next_task(NOW), Some(install(3, 0, SMALL)));
    spares.want(P, SegmentNumber(1), LARGE);
    assert_eq!(spares.next_task(NOW), Some(install(1, 1, LARGE)));
    assert_eq!(spares.next_task(NOW), Some(make(7, SMALL)));
}

#[test]
fn no_room_for_a_large_spare_makes_small_ones_do() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    spares.want(P, SegmentNumber(1), LARGE);
    assert_eq!(spares.next_task(NOW), Some(make(5, LARGE)));
    assert_eq!(spares.next_deadline(), None);
    spares.made(NOW, SpareId(5), LARGE, false);
    assert!(spares.is_short() && !spares.is_full());
    // The reserve is kept.
    assert_eq!(spares.next_task(NOW), Some(make(7, SMALL)));
    spares.made(NOW, SpareId(7), SMALL, true);
    assert_eq!(spares.next_task(NOW), Some(install(1, 1, SMALL)));
    assert_eq!(spares.next_task(NOW), None);
    let later = NOW.add(LARGE_AGAIN);
    assert_eq!(spares.next_deadline(), Some(later));
    assert_eq!(spares.next_task(later), Some(make(9, LARGE)));
    spares.made(later, SpareId(9), LARGE, true);
    assert!(!spares.is_short());
    assert_eq!(spares.next_task(later), None);
    assert_eq!(spares.next_deadline(), None);
}

#[test]
fn a_full_disk_gives_the_reserve_to_logs_that_are_stuck_and_tries_again_later() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    let other = PartitionId(5);
    spares.want(P, SegmentNumber(1), LARGE);
    spares.want(other, SegmentNumber(0), SMALL);
    for (spare, bytes) in [(5, LARGE), (7, SMALL)] {
        // The want of small size takes one of the two before the disk is known to be full.
        while let Some((task, _)) = spares.next_task(NOW) {
            if let Task::Install { partition, .. } = task {
                assert_eq!(partition, other);
            }
        }
        spares.made(NOW, SpareId(spare), bytes, false);
    }
    assert!(spares.is_full());
    assert_eq!(spares.next_task(NOW), None, "nothing waits in the log");
    spares.press(P);
    assert_eq!(spares.next_task(NOW), Some(install(3, 1, SMALL)));
    assert_eq!(spares.next_task(NOW), None);
    let later = NOW.add(SMALL_AGAIN);
    assert_eq!(spares.next_deadline(), Some(later));
    assert_eq!(spares.next_task(later), Some(make(9, SMALL)));
    assert_eq!(
        spares.next_deadline(),
        None,
        "what is being made ends by itself"
    );
    spares.made(later, SpareId(9), SMALL, true);
    assert!(!spares.is_full());
}

#[test]
fn a_full_disk_lends_all_of_the_reserve_but_the_last() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    let other = PartitionId(5);
    spares.want(P, SegmentNumber(1), LARGE);
    spares.want(other, SegmentNumber(1), LARGE);
    spares.lend(P);
    assert_eq!(spares.next_task(NOW), Some(make(5, LARGE)));
    spares.made(NOW, SpareId(5), LARGE, false);
    assert_eq!(spares.next_task(NOW), Some(make(7, SMALL)), "not lent yet");
    spares.made(NOW, SpareId(7), SMALL, false);
    assert!(spares.is_full());
    spares.lend(P);
    spares.lend(other);
    assert_eq!(spares.next_task(NOW), Some(install(1, 1, SMALL)));
    spares.lend(other);
    assert_eq!(spares.next_task(NOW), None);
}

#[test]
fn a_log_that_waits_on_a_full_disk_goes_on_when_there_is_room() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    spares.want(P, SegmentNumber(4), LARGE);
    let mut now = NOW;
    for _ in 0..20 {
        while let Some((task, bytes)) = spares.next_task(now) {
            let Task::MakeSpare { spare, .. } = task else {
                panic!("the reserve is not for this: {task:?}")
            };
            spares.made(now, spare, bytes, false);
        }
        let at = spares.next_deadline().expect("it is tried again");
        assert!(at > now, "no spinning");
        now = at;
    }
    let (task, bytes) = spares.next_task(now).expect("it is due");
    let Task::MakeSpare { spare, .. } = task else {
        panic!("{task:?}")
    };
    spares.made(now, spare, bytes, true);
    let (task, _) = spares
        .next_task(now)
        .expect("there is one beyond the reserve");
    assert!(matches!(task, Task::Install { .. }), "{task:?}");
}

#[test]
fn a_spare_is_hastened_once_and_only_when_records_wait_for_one() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    spares.want(P, SegmentNumber(1), LARGE);
    assert_eq!(spares.next_task(NOW), Some(make(5, LARGE)));
    spares.being_made(Token(7));
    assert_eq!(spares.hasten(), None, "the log has room for now");
    spares.press(P);
    assert_eq!(spares.hasten(), Some(Token(7)));
    assert_eq!(spares.hasten(), None);
    spares.made(NOW, SpareId(5), LARGE, true);
    assert_eq!(spares.next_task(NOW), Some(install(5, 1, LARGE)));
    assert_eq!(spares.next_task(NOW), Some(make(7, LARGE)));
    spares.being_made(Token(8));
    assert_eq!(spares.hasten(), None, "nobody waits");
}

#[test]
fn a_spare_that_could_not_be_installed_is_tried_again_later() {
    let mut spares = spares(&[
        (SpareId(1), SMALL),
        (SpareId(3), SMALL),
        (SpareId(5), LARGE),
    ]);
    let segment = SegmentNumber(0);
    spares.want(P, segment, SMALL);
    assert_eq!(spares.next_task(NOW), Some(install(1, 0, SMALL)));
    spares.not_installed(NOW, (SpareId(1), SMALL), (P, segment));
    assert!(spares.is_full());
    assert_eq!(spares.next_task(NOW), None);
    let later = spares.next_deadline().expect("it is tried again");
    assert_eq!(later, NOW.add(SMALL_AGAIN));
    assert_eq!(spares.next_task(later), Some(install(1, 0, SMALL)));
    assert_eq!(spares.next_task(later), Some(make(7, SMALL)));
    spares.made(later, SpareId(7), SMALL, true);
    assert!(!spares.is_full());
    assert_eq!(spares.next_task(later), None);
    assert_eq!(spares.next_deadline(), None);
}

#[test]
fn spares_are_divided_by_number() {
    let all = [(SpareId(0), 1), (SpareId(1), 2), (SpareId(2), 3)];
    assert_eq!(spares_of(ShardId(0), 2, &all), [all[0], all[2]]);
    assert_eq!(spares_of(ShardId(1), 2, &all), [all[1]]);
}
