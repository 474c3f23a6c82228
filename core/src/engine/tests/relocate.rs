//! Messages that get a new place: when they are read where, and what is left out.

use std::time::Duration;

use corelane_wire::{Lsn, Request};

use super::node::*;
use crate::limits::Limits;
use crate::record::Record;
use crate::{DeliverTo, FetchFor, Input, Output, SparseStretch};

/// All stretches that a cut finds below `below` are to move.
fn plan(node: &mut Node, below: Lsn) {
    let cut = node.engine.cut();
    let live = cut.live();
    let stretches: Vec<_> = live.map(|it| SparseStretch::of(&it, below)).collect();
    let stretches = stretches.as_slice();
    assert_eq!(node.step(Input::Relocate { stretches }), []);
}

/// Moves one slice; the records that were asked for.
fn slice(node: &mut Node, bytes: u64) -> Vec<Lsn> {
    let outputs = node.step(Input::Move { bytes });
    let fetched: Vec<_> = node.fetches.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(outputs.len(), fetched.len(), "nothing else: {outputs:?}");
    fetched
}

/// Gives every record that was asked for.
fn give_all(node: &mut Node) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some((lsn, _)) = node.fetches.front().copied() {
        let batch = node.batches[&lsn].clone();
        let batch = Some(batch.as_slice());
        let whose = FetchFor::Relocation;
        outputs.extend(node.step(Input::Fetched { whose, batch }));
    }
    outputs
}

fn relocated(outputs: &[Output]) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    for output in outputs {
        if let Output::Append { record, .. } = output
            && let Record::Relocate { first, count, .. } = record
        {
            found.push((first.0, *count));
        }
    }
    found
}

/// Six messages in one batch, of which 1 and 4 are done; the end of the log.
fn sparse() -> (Node, Lsn) {
    let mut node = filled(6);
    let lease = node.take(alice(1), "q", 6);
    let done = entries(&[(lease, 1, 1), (lease, 4, 1)]);
    node.request(alice(2), Request::Ack(settle("q", &done)));
    node.turn_end();
    node.durable();
    let end = node.engine.positions().end;
    (node, end)
}

#[test]
fn only_what_is_live_moves_and_its_times_stay() {
    let (mut node, end) = sparse();
    node.pass(Duration::from_secs(5));
    plan(&mut node, end);
    assert!(node.engine.is_relocating());
    assert_eq!(slice(&mut node, 10_000).len(), 1, "one batch holds all");
    let outputs = give_all(&mut node);
    assert_eq!(relocated(&outputs), [(0, 1), (2, 2), (5, 1)]);
    let times = node.log.iter().rev().take(3);
    assert!(times.clone().all(|(_, time, _)| *time > T0));
    for (_, _, record) in times {
        assert!(matches!(record, Record::Relocate { enqueued: T0, .. }));
    }
    assert_eq!(slice(&mut node, 10_000), []);
    assert!(!node.engine.is_relocating());
}

/// Where a peek says that its messages lie, once everything is committed: record, place in its batch, offset.
fn peeked(node: &mut Node) -> Vec<(Lsn, u32, u64)> {
    let outputs = node.request(alice(3), peek("q", 0, 10));
    let mut outputs = [outputs, node.durable()].concat();
    outputs.retain(|output| matches!(output, Output::Deliver(_)));
    let runs = deliveries(&outputs).remove(0).runs;
    let places = runs.iter().map(|run| (run.lsn, run.index, run.first.0));
    places.collect()
}

#[test]
fn messages_are_read_at_their_old_place_until_the_new_one_is_committed() {
    let (mut node, end) = sparse();
    plan(&mut node, end);
    let old = slice(&mut node, 10_000)[0];
    give_all(&mut node);
    let before = peeked(&mut node);
    assert_eq!(before, [(old, 0, 0), (old, 2, 2), (old, 5, 5)]);
    let after = peeked(&mut node);
    let new = |behind| Lsn(end.0 + behind);
    assert_eq!(after, [(new(0), 0, 0), (new(1), 0, 2), (new(2), 0, 5)]);
}

#[test]
fn messages_that_move_again_before_the_commit_are_read_at_their_first_place() {
    let (mut node, end) = sparse();
    plan(&mut node, end);
    let old = slice(&mut node, 10_000)[0];
    give_all(&mut node);
    let again = node.engine.positions().end;
    plan(&mut node, again);
    assert_eq!(slice(&mut node, 10_000).len(), 3, "where they moved to");
    assert_eq!(relocated(&give_all(&mut node)), [(0, 1), (2, 2), (5, 1)]);
    assert_eq!(peeked(&mut node), [(old, 0, 0), (old, 2, 2), (old, 5, 5)]);
    let new = |behind| Lsn(again.0 + behind);
    assert_eq!(peeked(&mut node)[0], (new(0), 0, 0));
}

#[test]
fn what_is_done_or_deleted_meanwhile_does_not_move() {
    let (mut node, end) = sparse();
    plan(&mut node, end);
    slice(&mut node, 10_000);
    node.request(alice(4), Request::QueueDelete { queue: "q" });
    assert_eq!(relocated(&give_all(&mut node)), []);

    let (mut node, end) = sparse();
    plan(&mut node, end);
    slice(&mut node, 10_000);
    let lease = node.engine.state.leases.iter().next().unwrap().0;
    let done = entries(&[(lease, 2, 1)]);
    node.request(alice(5), Request::Ack(settle("q", &done)));
    node.turn_end();
    assert_eq!(relocated(&give_all(&mut node)), [(0, 1), (3, 1), (5, 1)]);
}

#[test]
fn what_cannot_be_read_stays_and_the_rest_moves() {
    let mut node = Node::new();
    for _ in 0..3 {
        node.fill("q", 1);
    }
    let end = node.engine.positions().end;
    plan(&mut node, end);
    let records = slice(&mut node, 10_000);
    assert_eq!(records.len(), 3);
    let batch = Some(node.batches[&records[0]].clone());
    let whose = FetchFor::Relocation;
    let mut outputs = node.step(Input::Fetched {
        whose,
        batch: batch.as_deref(),
    });
    outputs.extend(node.step(Input::Fetched { whose, batch: None }));
    outputs.extend(give_all(&mut node));
    assert_eq!(relocated(&outputs), [(0, 1), (2, 1)]);
    node.durable();
    let (taken, turn) = (node.request(alice(1), dequeue("q", 3, 0)), node.turn_end());
    let given = deliveries(&[taken, turn].concat());
    assert_eq!(given[0].to, DeliverTo::Dequeue(alice(1)));
    let places: Vec<_> = given[0].runs.iter().map(|run| run.lsn).collect();
    assert_eq!(places, [end, records[1], Lsn(end.0 + 1)]);
}

#[test]
fn a_slice_is_bounded_and_what_moved_does_not_move_again() {
    let mut node = Node::new();
    for _ in 0..10 {
        node.fill("q", 1);
    }
    let end = node.engine.positions().end;
    plan(&mut node, end);
    let mut moved = Vec::new();
    while node.engine.is_relocating() {
        let records = slice(&mut node, 500);
        assert!(records.len() <= 3, "{records:?}");
        moved.extend(relocated(&give_all(&mut node)));
    }
    assert_eq!(moved, (0..10).map(|at| (at, 1)).collect::<Vec<_>>());
    node.durable();
    plan(&mut node, end);
    assert_eq!(slice(&mut node, 10_000), [], "it lies behind the end");
}

#[test]
fn a_stretch_whose_runs_cannot_be_read_is_left_where_it_is() {
    let mut node = Node::with_limits(Limits {
        stretch_runs_max: 32,
        ..Limits::default()
    });
    for _ in 0..20 {
        node.fill("q", 1);
        node.fill("other", 1);
    }
    let end = node.engine.positions().end;
    node.chunks.checkpoint(&node.engine.cut());
    node.restart_from_checkpoint(end, T0, 2);
    node.durable();
    plan(&mut node, end);
    node.step(Input::Move { bytes: 10_000 });
    let (queue, first, _) = node.loads.pop_front().expect("its runs are on disk");
    let chunk = None;
    let lost = Input::Loaded {
        queue,
        first,
        chunk,
    };
    node.step(lost);
    assert!(node.loads.is_empty(), "nobody asks for it again");
    node.step(Input::Move { bytes: 10_000 });
    let (next, ..) = node.loads[0];
    assert_ne!(next, queue, "the other stretch is next");
    node.read_one();
    node.step(Input::Move { bytes: 10_000 });
    assert_eq!(relocated(&give_all(&mut node)).len(), 20);
    node.step(Input::Move { bytes: 10_000 });
    assert!(!node.engine.is_relocating());
}
