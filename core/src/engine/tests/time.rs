use std::time::Duration;

use corelane_wire::SettleOutcome::{Done, Stale};
use corelane_wire::{Epoch, Lsn, PartitionId, Request, Timestamp};

use super::node::*;
use crate::limits::Limits;
use crate::record::Record;
use crate::{Engine, Input, ReplayError, Status};

const SECOND: Duration = Duration::from_secs(1);

/// Three messages leased for 30 s by Bob at T0; everything is committed.
fn leased() -> (Node, corelane_wire::LeaseId) {
    let mut node = Node::new();
    node.fill("q", 3);
    let lease = node.take(bob(1), "q", 3);
    (node, lease)
}

/// Lets time pass in steps, with every deadline served and committed on its way.
fn live_until(node: &mut Node, until: Timestamp) {
    while let Some(next) = node.engine.next_deadline().filter(|next| *next <= until) {
        node.now = node.now.max(next);
        node.step(Input::Deadline);
        node.turn_end();
        node.durable();
    }
    node.now = until;
}

#[test]
fn lease_expiry_returns_messages_to_ready_by_a_tick() {
    let (mut node, _) = leased();
    live_until(&mut node, T0.add(29 * SECOND));
    assert_eq!(node.engine.stats().leased, 3);
    let deadline = T0.add(30 * SECOND);
    assert_eq!(node.engine.next_deadline(), Some(deadline));
    let end = node.engine.positions().end;
    let outputs = node.deadline_after(SECOND);
    assert_eq!(outputs, [append(end.0, deadline, Record::Tick)]);
    assert_eq!(node.engine.stats().ready, 3);
    node.request(alice(1), dequeue("q", 3, 0));
    let outputs = node.turn_end();
    assert_eq!(deliveries(&outputs)[0].runs, [run(2, (0, 3), 0, 2)]);
}

#[test]
fn lease_past_its_deadline_holds_until_the_tick() {
    let (mut node, lease) = leased();
    node.pass(31 * SECOND);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    assert_eq!(node.durable(), [reply(bob(2), settled(&[(0, 1, Done)]))]);
}

#[test]
fn ack_after_the_expiry_is_stale() {
    let (mut node, lease) = leased();
    node.deadline_after(30 * SECOND);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    assert_eq!(node.durable(), [reply(bob(2), settled(&[(0, 1, Stale)]))]);
}

#[test]
fn log_learns_the_time_every_ten_seconds_while_a_lease_lives() {
    let (mut node, _) = leased();
    assert_eq!(node.engine.next_deadline(), Some(T0.add(10 * SECOND)));
    let outputs = node.deadline_after(10 * SECOND);
    assert_eq!(outputs, [append(5, node.now, Record::Tick)]);
    node.durable();
    assert_eq!(node.engine.next_deadline(), Some(T0.add(20 * SECOND)));
}

#[test]
fn nothing_is_due_without_leases_delays_and_waits() {
    let mut node = Node::new();
    node.fill("q", 3);
    assert_eq!(node.engine.next_deadline(), None);
    assert_eq!(node.deadline_after(3_600 * SECOND), []);
}

#[test]
fn start_of_a_log_appends_the_epoch_with_the_jump_and_refuses_until_it_is_durable() {
    let (mut node, _) = leased();
    let end = node.engine.positions().end;
    let wall = T0.add(3_600 * SECOND);
    let outputs = node.restart(end, wall, 7);
    let epoch = Record::Epoch {
        epoch: Epoch(7),
        jump_ns: 3_600_000_000_000,
    };
    assert_eq!(outputs, [append(5, wall, epoch), flush(6)]);
    assert_eq!(node.engine.stats().status, Status::Starting { end: Lsn(6) });
    let outputs = node.request(bob(1), dequeue("q", 1, 0));
    assert_eq!(
        refusals(&outputs),
        [(bob(1), corelane_wire::ErrorCode::Starting)]
    );
    node.durable();
    assert_eq!(node.engine.stats().status, Status::Serving);
    assert_eq!(node.engine.epoch(), Epoch(7));
}

#[test]
fn no_lease_expires_because_the_broker_was_down() {
    let (mut node, lease) = leased();
    let end = node.engine.positions().end;
    node.restart(end, T0.add(3_600 * SECOND), 2);
    node.step(Input::SessionResumed {
        session: bob(1).session,
    });
    node.durable();
    live_until(&mut node, T0.add(3_629 * SECOND));
    assert_eq!(node.engine.stats().leased, 3);
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let outputs = node.durable();
    assert_eq!(
        outputs,
        [reply(bob(2), settled(&[(0, 3, Done)]))],
        "a lease survives the restart under its id"
    );
}

#[test]
fn lease_expires_when_its_time_is_over_without_the_jump() {
    let (mut node, _) = leased();
    let end = node.engine.positions().end;
    node.restart(end, T0.add(3_600 * SECOND), 2);
    node.step(Input::SessionResumed {
        session: bob(1).session,
    });
    node.durable();
    live_until(&mut node, T0.add(3_630 * SECOND));
    assert_eq!(node.engine.stats().leased, 0);
}

#[test]
fn delay_comes_due_by_the_wall_clock_across_a_restart() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(bob(2), nack("q", &bytes, 60_000));
    node.turn_end();
    node.durable();
    let end = node.engine.positions().end;
    node.restart(end, T0.add(59 * SECOND), 2);
    node.durable();
    assert_eq!(node.engine.stats().delayed, 3);
    assert_eq!(node.engine.next_deadline(), Some(T0.add(60 * SECOND)));
    live_until(&mut node, T0.add(60 * SECOND));
    assert_eq!(node.engine.stats().ready, 3);
}

#[test]
fn jump_of_more_than_a_day_is_not_applied_so_that_delays_are_late_but_never_early() {
    let (mut node, lease) = leased();
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(bob(2), nack("q", &bytes, 60_000));
    node.turn_end();
    node.durable();
    let end = node.engine.positions().end;
    let wall = T0.add(90_000 * SECOND);
    let outputs = node.restart(end, wall, 2);
    let epoch = Record::Epoch {
        epoch: Epoch(2),
        jump_ns: 0,
    };
    assert_eq!(outputs, [append(6, T0, epoch), flush(7)]);
    node.durable();
    assert!(node.engine.stats().time_jump_refused);
    let late = wall.add(60 * SECOND);
    live_until(&mut node, wall.add(59 * SECOND));
    assert_eq!(node.engine.stats().delayed, 3);
    live_until(&mut node, late);
    assert_eq!(node.engine.stats().ready, 3);
}

#[test]
fn log_time_never_goes_back_when_the_wall_does() {
    let (mut node, _) = leased();
    let end = node.engine.positions().end;
    let outputs = node.restart(end, Timestamp(T0.0 - 1_000), 2);
    let epoch = Record::Epoch {
        epoch: Epoch(2),
        jump_ns: 0,
    };
    assert_eq!(outputs, [append(5, T0, epoch), flush(6)]);
}

#[test]
fn lost_lease_record_means_another_delivery_with_the_attempt_repeated() {
    let mut node = Node::new();
    node.fill("q", 1);
    node.request(bob(1), dequeue("q", 1, 0));
    let before = deliveries(&node.turn_end());
    node.restart(Lsn(4), T0, 2);
    node.durable();
    node.request(bob(1), dequeue("q", 1, 0));
    let after = deliveries(&node.turn_end());
    assert_eq!(before[0].runs, after[0].runs);
    assert_eq!((before[0].lease.lsn.0, after[0].lease.lsn.0), (4, 5));
    node.durable();
    let bytes = entries(&[(before[0].lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    assert_eq!(
        node.turn_end(),
        [reply(bob(2), settled(&[(0, 1, Stale)]))],
        "the lost lease is fenced by its epoch"
    );
}

#[test]
#[cfg_attr(miri, ignore = "thousands of leases take Miri minutes")]
fn long_tick_goes_on_with_the_next_record() {
    let mut node = Node::new();
    let leases = u32::try_from(crate::limits::SWEEP_MAX).unwrap() + 1;
    node.fill("q", leases);
    for number in 0..leases {
        node.request(bob(number.into()), dequeue("q", 1, 1_000));
        if number % 1_000 == 999 {
            node.turn_end();
            node.durable();
        }
    }
    node.turn_end();
    node.durable();
    node.deadline_after(30 * SECOND);
    assert_eq!(node.engine.stats().leased, 1);
    assert!(
        node.engine
            .next_deadline()
            .is_some_and(|next| next <= node.now)
    );
    node.step(Input::Deadline);
    assert_eq!(node.engine.stats().leased, 0);
}

#[test]
fn replay_reaches_the_same_state() {
    let (node, _) = leased();
    let engine = replayed(&node.log).unwrap();
    assert_eq!(engine.state_hash(), node.engine.state_hash());
}

/// Were it skipped, everything behind it would be replayed into another state than the one that was told of.
#[test]
fn a_replay_ends_at_a_record_of_a_later_version() {
    let mut engine = Engine::new(PartitionId(0), Limits::default());
    assert!(matches!(
        engine.replay(Lsn(0), T0, 200, &[]),
        Err(ReplayError::Decode {
            lsn: Lsn(0),
            kind: 200,
            ..
        })
    ));
    assert_eq!(engine.positions().end, Lsn(0));
}

#[test]
fn replay_refuses_what_does_not_follow() {
    let (node, _) = leased();
    let refused = |change: fn(&mut Vec<(Lsn, Timestamp, Record)>)| {
        let mut log = node.log.clone();
        change(&mut log);
        replayed(&log).err()
    };
    assert!(matches!(
        refused(|log| {
            log.remove(2);
        }),
        Some(ReplayError::Gap { .. })
    ));
    assert!(matches!(
        refused(|log| log[3].1 = Timestamp(5)),
        Some(ReplayError::TimeWentBack { .. })
    ));
    for (index, record) in [
        (
            1,
            Record::Epoch {
                epoch: Epoch(1),
                jump_ns: 0,
            },
        ),
        (
            2,
            Record::Delete {
                queue: crate::QueueId(9),
            },
        ),
        (4, lease_record(bob(1).session, &[range(3, 1)])),
        (4, lease_record(bob(1).session, &[range(0, 4)])),
        (4, lease_record(bob(1).session, &[])),
        (
            4,
            Record::Ack {
                queue: QUEUE,
                subscription: DEFAULT,
                entries: vec![entry(lease_id(1, 4), 0, 1)],
            },
        ),
    ] {
        let mut log = node.log.clone();
        log[index].2 = record;
        assert!(
            matches!(replayed(&log), Err(ReplayError::Inconsistent { .. })),
            "{:?}",
            log[index].2
        );
    }
}
