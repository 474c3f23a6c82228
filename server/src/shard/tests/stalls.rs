use super::*;
use crate::stats::Illness;

/// So often the node waits for half a second.
fn wait(world: &mut World, halves: u32) {
    for _ in 0..halves {
        world.pass(Duration::from_millis(500));
    }
}

fn ill(world: &World) -> Vec<(PartitionId, Illness)> {
    world.shards[0].state.stats.ill()
}

/// A node with an enqueue whose write does not return, and its client.
fn stalled() -> (World, String, crate::driver::Socket) {
    let mut world = World::with_partitions(1, 2);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    world.finish_writes(0, true);
    world.enqueue(0, socket, 5, &queue);
    assert_eq!(world.driver(0).writes.len(), 1);
    (world, queue, socket)
}

#[test]
fn a_write_that_does_not_return_is_told_about_until_it_does() {
    let (mut world, _, socket) = stalled();
    wait(&mut world, 1);
    assert_eq!(ill(&world), []);
    wait(&mut world, 1);
    assert_eq!(ill(&world), [(PartitionId(0), Illness::Stalled)]);
    let counters = world.shards[0].state.stats.read();
    assert_eq!(
        (counters.partitions_stalled, counters.partitions_serving),
        (1, 2)
    );
    wait(&mut world, 4);
    assert!(world.answers(0, socket).is_empty());
    assert_eq!(world.finish_writes(0, true), 1);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(5, Response::Enqueued(_))]
    ));
    assert_eq!(ill(&world), []);
    let counters = world.shards[0].state.stats.read();
    assert_eq!(
        (counters.partitions_stalled, counters.commit_stalls_total),
        (0, 1)
    );
}

#[test]
fn a_write_that_does_not_return_in_time_poisons_its_partition_and_later_changes_nothing() {
    let (mut world, queue, socket) = stalled();
    let (well, other) = (queue_of(&world, 1), world.greeted(0));
    wait(&mut world, 19);
    assert!(world.answers(0, socket).is_empty());
    wait(&mut world, 1);
    let answers = world.answers(0, socket);
    assert!(
        matches!(answers[..], [(0, Response::Fault { .. })]),
        "{answers:?}"
    );
    assert!(ill(&world).contains(&(PartitionId(0), Illness::Poisoned)));
    // The buffer is with the driver for as long as the kernel may read it.
    assert_eq!(world.driver(0).writes.len(), 1);
    assert_eq!(world.finish_writes(0, true), 1);
    assert_eq!(ill(&world), [(PartitionId(0), Illness::Poisoned)]);
    world.request(0, other, 6, &dequeue(&queue));
    assert_eq!(code(&world.answers(0, other)[0].1), ErrorCode::Poisoned);
    world.enqueue(0, other, 7, &well);
    assert_eq!(world.finish_writes(0, true), 1);
    assert!(matches!(
        world.answers(0, other)[..],
        [(7, Response::Enqueued(_))]
    ));
}

#[test]
fn a_shard_wakes_up_for_a_write_that_does_not_return_and_sleeps_afterwards() {
    let (mut world, ..) = stalled();
    world.pass(Duration::from_millis(400));
    world.pass(Duration::from_millis(400));
    assert_eq!(world.driver(0).timeout, Duration::from_millis(200));
    wait(&mut world, 24);
    assert_eq!(world.driver(0).timeout, Duration::from_millis(500));
    assert_eq!(world.driver(0).writes.len(), 1);
}

#[test]
fn the_time_in_which_the_process_stood_still_is_not_the_disks() {
    let (mut world, _, socket) = stalled();
    world.pass(Duration::from_hours(1));
    assert_eq!(ill(&world), []);
    assert_eq!(world.finish_writes(0, true), 1);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(5, Response::Enqueued(_))]
    ));
}

#[test]
fn without_a_bound_a_write_may_take_as_long_as_it_wants() {
    let (mut world, _, socket) = stalled();
    world.shards[0].state.config.write_timeout = Duration::ZERO;
    wait(&mut world, 1_000);
    assert_eq!(ill(&world), [(PartitionId(0), Illness::Stalled)]);
    assert_eq!(world.finish_writes(0, true), 1);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(5, Response::Enqueued(_))]
    ));
}
