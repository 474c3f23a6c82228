//! Messages that could be given out, and are not, because they could not be sent.

use std::time::Duration;

use super::node::*;
use crate::ids::ConnectionId;
use crate::{DeliverTo, Input, Reply};

#[test]
fn full_out_buffer_withholds_pushes() {
    let mut node = filled(5);
    let connection = ConnectionId(1);
    node.request(alice(1), subscribe("q", 7, 2));
    node.request(alice(2), dequeue("q", 1, 1_000));
    node.step(Input::Writable {
        connection,
        writable: false,
    });
    assert_eq!(
        served(&node.turn_end()),
        [(DeliverTo::Dequeue(alice(2)), 1)]
    );
    node.step(Input::Writable {
        connection,
        writable: true,
    });
    assert_eq!(served(&node.turn_end()), [(ALICE_7, 2)]);
}

#[test]
fn nothing_is_given_out_while_deliveries_wait_and_only_who_would_get_something_waits() {
    let mut node = filled(5);
    node.fill("other", 1);
    node.take(bob(9), "other", 1);
    node.durable();
    node.step(Input::GiveOut { allowed: false });
    node.request(alice(1), subscribe("q", 7, 2));
    node.request(alice(2), dequeue("q", 1, 0));
    node.request(alice(3), dequeue("other", 1, 0));
    node.durable();
    assert_eq!(node.turn_end(), [reply(alice(3), Reply::Empty)]);
    assert_eq!(node.engine.stats().leased, 1, "what bob took before");
    let due = node.engine.next_deadline();
    assert!(due > Some(T0), "the wait that is over is not due again");
    node.step(Input::GiveOut { allowed: true });
    assert_eq!(
        served(&node.turn_end()),
        [(DeliverTo::Dequeue(alice(2)), 1), (ALICE_7, 2)]
    );
}

#[test]
fn a_dequeue_that_was_withheld_is_not_answered_empty_before_the_turn_gives_out() {
    let mut node = filled(1);
    node.step(Input::GiveOut { allowed: false });
    node.request(alice(1), dequeue("q", 1, 0));
    assert_eq!(node.turn_end(), []);
    node.step(Input::GiveOut { allowed: true });
    assert_eq!(node.deadline_after(Duration::from_millis(1)), []);
    assert_eq!(deliveries(&node.turn_end()).len(), 1);
}
