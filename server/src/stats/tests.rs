use super::*;

#[test]
fn published_numbers_read_back() {
    let stats = ShardStats::default();
    let counters = Counters {
        turns_total: 3,
        messages_delayed: 9,
        ..Counters::default()
    };
    stats.publish(&counters);
    assert_eq!(stats.read(), counters);
}

#[test]
fn partitions_that_went_bad_are_listed() {
    let stats = ShardStats::default();
    stats.add_ill(PartitionId(3), Illness::Damaged);
    stats.add_ill(PartitionId(1), Illness::Poisoned);
    stats.add_ill(PartitionId(3), Illness::Damaged);
    let expected = [
        (PartitionId(3), Illness::Damaged),
        (PartitionId(1), Illness::Poisoned),
    ];
    assert_eq!(stats.ill(), expected);
}
