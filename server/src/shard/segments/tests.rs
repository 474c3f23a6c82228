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
fn a_full_disk_gives_the_reserve_to_logs_and_tries_again_later() {
    let mut spares = spares(&[(SpareId(1), SMALL), (SpareId(3), SMALL)]);
    spares.want(P, SegmentNumber(1), LARGE);
    assert_eq!(spares.next_task(NOW), Some(make(5, LARGE)));
    spares.made(NOW, SpareId(5), LARGE, false);
    assert!(spares.is_full());
    assert_eq!(spares.next_task(NOW), Some(install(1, 1, SMALL)));
    assert_eq!(spares.next_task(NOW), None);
    let later = NOW.add(RETRY_AFTER);
    assert_eq!(spares.next_deadline(), Some(later));
    assert_eq!(spares.next_task(later), Some(make(7, SMALL)));
    spares.made(later, SpareId(7), SMALL, true);
    assert!(!spares.is_full());
}

#[test]
fn spares_are_divided_by_number() {
    let all = [(SpareId(0), 1), (SpareId(1), 2), (SpareId(2), 3)];
    assert_eq!(spares_of(ShardId(0), 2, &all), [all[0], all[2]]);
    assert_eq!(spares_of(ShardId(1), 2, &all), [all[1]]);
}
