use std::time::Duration;

use super::node::*;
use crate::Input;
use crate::limits::SESSION_GRACE;
use crate::record::Record;

/// Three messages leased by Bob, whose session lost its connection at T0.
fn lost() -> Node {
    let mut node = Node::new();
    node.fill("q", 3);
    node.take(bob(1), "q", 3);
    let outputs = node.step(Input::SessionLost {
        session: bob(1).session,
    });
    assert_eq!(outputs, []);
    node
}

#[test]
fn leases_of_a_lost_session_return_after_its_grace_without_counting_the_attempt() {
    let mut node = lost();
    assert_eq!(node.engine.next_deadline(), Some(T0.add(SESSION_GRACE)));
    assert_eq!(node.deadline_after(Duration::from_secs(4)), []);
    let outputs = node.deadline_after(Duration::from_secs(1));
    let release = Record::Release {
        session: bob(1).session,
    };
    assert_eq!(outputs, [append(5, node.now, release)]);
    node.request(alice(1), dequeue("q", 3, 0));
    let outputs = node.turn_end();
    assert_eq!(deliveries(&outputs)[0].runs, [run(2, (0, 3), 0, 1)]);
}

#[test]
fn resumed_session_keeps_its_leases() {
    let mut node = lost();
    node.pass(Duration::from_secs(4));
    node.step(Input::SessionResumed {
        session: bob(1).session,
    });
    assert_eq!(node.deadline_after(Duration::from_secs(1)), []);
    assert_eq!(node.engine.stats().leased, 3);
}

#[test]
fn session_without_leases_is_not_remembered() {
    let mut node = lost();
    node.step(Input::SessionLost {
        session: alice(1).session,
    });
    node.deadline_after(SESSION_GRACE);
    assert_eq!(node.log.len(), 6, "one Release, of the session with leases");
}

#[test]
fn grace_begins_again_at_the_epoch_record_of_a_start() {
    let mut node = lost();
    let end = node.engine.positions().end;
    let wall = T0.add(Duration::from_hours(1));
    node.restart(end, wall, 2);
    node.durable();
    assert_eq!(node.engine.next_deadline(), Some(wall.add(SESSION_GRACE)));
    node.deadline_after(SESSION_GRACE);
    assert_eq!(node.engine.stats().leased, 0);
    assert_eq!(node.engine.stats().ready, 3);
}

#[test]
fn other_sessions_keep_their_leases() {
    let mut node = Node::new();
    node.fill("q", 3);
    node.take(bob(1), "q", 1);
    node.take(alice(1), "q", 1);
    node.step(Input::SessionLost {
        session: bob(1).session,
    });
    node.deadline_after(SESSION_GRACE);
    assert_eq!(node.engine.stats().leased, 1);
}
