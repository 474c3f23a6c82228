//! Dead messages on their way to a dead-letter queue.

use std::time::Duration;

use corelane_wire::{
    Aside, Batch, Contract, DeadLetters, ErrorCode, Fate, Lane, OnSubscription, ProducerId,
    PurgeStates, Reject, Request, SubscriptionAnswer, SubscriptionConfig, SubscriptionDetail,
    SubscriptionVerb,
};

use super::node::*;
use crate::{FetchFor, Input, Outgoing, Output, Reply};

fn ask(node: &mut Node, verb: SubscriptionVerb<'_>) -> Result<SubscriptionAnswer, ErrorCode> {
    let request = Request::Subscription(OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb,
    });
    let mut outputs = node.request(bob(99), request);
    outputs.extend(node.durable());
    let mut replies = Vec::new();
    for output in outputs {
        if let Output::Reply { to, reply } = output
            && to == bob(99)
        {
            replies.push(reply);
        }
    }
    match replies.pop() {
        Some(Reply::Subscription(answer)) => Ok(*answer),
        Some(Reply::Refused { code, .. }) => Err(code),
        other => panic!("{other:?}"),
    }
}

fn show(node: &mut Node) -> SubscriptionDetail {
    match ask(node, SubscriptionVerb::Show) {
        Ok(SubscriptionAnswer::Shown(detail)) => *detail,
        other => panic!("{other:?}"),
    }
}

fn forward_to(node: &mut Node, queue: &str) {
    let change = Some(DeadLetters::To(queue));
    let to = Some(queue.to_owned());
    let answer = ask(node, SubscriptionVerb::DeadLetters { change });
    assert_eq!(answer, Ok(SubscriptionAnswer::DeadLetters { to }));
}

/// A queue of ten messages whose `first..first + count` are dead, with a text.
fn with_dead(first: u64, count: u32) -> Node {
    let mut node = filled(10);
    let lease = node.take(alice(1), "q", 10);
    let bytes = entries(&[(lease, first, count)]);
    let settle = settle("q", &bytes);
    let (fate, text) = (Fate::Dead, "no such order");
    node.request(alice(7), Request::Reject(Reject { settle, fate, text }));
    node.turn_end();
    node.durable();
    node
}

/// Some turns, each with its commit, in which what the engine wants read is read; the letters that come of it.
fn letters(node: &mut Node) -> Vec<Outgoing> {
    let mut letters = Vec::new();
    for _ in 0..3 {
        let mut outputs = node.turn_end();
        outputs.extend(node.durable());
        while let Some(lsn) = node.letter_reads.front().copied() {
            let batch = node.batches.get(&lsn).cloned();
            let whose = FetchFor::DeadLetters;
            let batch = batch.as_deref();
            outputs.extend(node.step(Input::Fetched { whose, batch }));
        }
        for output in outputs {
            if let Output::Letter(letter) = output {
                letters.push(*letter);
            }
        }
    }
    letters
}

fn answer(node: &mut Node, letter: &Outgoing, code: ErrorCode) {
    let (from, lsn) = (letter.from, letter.lsn);
    node.step(Input::LetterAnswered { from, lsn, code });
    node.durable();
}

#[test]
fn dead_messages_go_to_their_queue_once_and_are_done_then() {
    let mut node = with_dead(2, 3);
    assert_eq!(letters(&mut node), [], "nobody said so");
    forward_to(&mut node, "graves");
    let sent = letters(&mut node);
    let [letter] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(&*letter.to, "graves");
    let batch = Batch::read(&letter.batch).unwrap();
    assert_eq!(batch.count, 3);
    assert_ne!(batch.producer, ProducerId::NONE);
    let first = batch.iter().next().unwrap().unwrap();
    let headers: Vec<_> = first
        .headers()
        .map(|header| (header.name, String::from_utf8_lossy(header.value)))
        .collect();
    let expected = [
        ("corelane-dead-queue", "q"),
        ("corelane-dead-subscription", "default"),
        ("corelane-dead-offset", "2"),
        ("corelane-dead-cause", "rejected"),
        ("corelane-dead-attempts", "1"),
        ("corelane-dead-text", "no such order"),
    ];
    let expected = expected.map(|(name, value)| (name, value.into()));
    assert_eq!(headers, expected);
    assert_eq!(show(&mut node).dead, 3, "they are dead until they arrive");

    // Meanwhile nobody else can have them.
    let states = PurgeStates {
        waiting: false,
        parked: false,
        dead: true,
    };
    let purged = ask(&mut node, SubscriptionVerb::Purge { states });
    assert_eq!(purged, Ok(SubscriptionAnswer::Purged { count: 0 }));

    answer(&mut node, letter, ErrorCode::Ok);
    let detail = show(&mut node);
    assert_eq!((detail.dead, detail.done, detail.leased), (0, 3, 7));
    assert_eq!(letters(&mut node), []);
}

#[test]
fn a_letter_is_the_same_after_a_crash_that_takes_its_answer() {
    let mut node = with_dead(2, 3);
    forward_to(&mut node, "graves");
    let before = letters(&mut node);
    assert_eq!(before.len(), 1);
    answer(&mut node, &before[0], ErrorCode::Ok);
    let forwarded = node.engine.positions().end;
    // The record that they have arrived is lost.
    let end = corelane_wire::Lsn(forwarded.0 - 1);
    node.restart(end, T0, 2);
    node.durable();
    let after = letters(&mut node);
    assert_eq!(before, after);
    answer(&mut node, &after[0], ErrorCode::Ok);
    assert_eq!(show(&mut node).done, 3);
}

#[test]
fn a_letter_is_not_written_before_its_record_is_committed() {
    let mut node = with_dead(2, 3);
    forward_to(&mut node, "graves");
    node.turn_end();
    node.turn_end();
    assert!(node.letter_reads.is_empty(), "X1");
    node.durable();
    node.turn_end();
    assert_eq!(node.letter_reads.len(), 1);
}

#[test]
fn what_has_letters_under_way_becomes_no_reader() {
    let mut node = with_dead(0, 10);
    forward_to(&mut node, "graves");
    assert_eq!(letters(&mut node).len(), 1);
    let config = SubscriptionConfig {
        contract: Contract::Reader,
        ..SubscriptionConfig::PLAIN
    };
    let refused = ask(&mut node, SubscriptionVerb::Configure { config });
    assert_eq!(refused, Err(ErrorCode::NotSupported));
}

#[test]
fn a_letter_that_is_refused_for_now_is_sent_again_as_it_was() {
    let mut node = with_dead(0, 10);
    forward_to(&mut node, "graves");
    let first = letters(&mut node);
    answer(&mut node, &first[0], ErrorCode::Busy);
    assert_eq!(letters(&mut node), [], "not at once");
    let due = node.engine.next_deadline().unwrap();
    assert!(due <= node.now.add(Duration::from_secs(1)));
    node.deadline_after(Duration::from_secs(1));
    let again = letters(&mut node);
    assert_eq!(again, first);
    answer(&mut node, &again[0], ErrorCode::Ok);
    assert_eq!(show(&mut node).dead, 0);
}

#[test]
fn what_is_refused_for_good_or_cannot_be_read_stays_dead_until_somebody_says_so() {
    for is_refused in [true, false] {
        let mut node = with_dead(4, 2);
        forward_to(&mut node, "graves");
        if is_refused {
            let sent = letters(&mut node);
            answer(&mut node, &sent[0], ErrorCode::ClassNotAvailable);
        } else {
            let kept = std::mem::take(&mut node.batches);
            assert_eq!(letters(&mut node), []);
            node.batches = kept;
        }
        assert_eq!(letters(&mut node), []);
        assert_eq!(show(&mut node).dead, 2);
        let verb = SubscriptionVerb::ListAside {
            aside: Aside::Dead,
            from: corelane_wire::Offset(0),
            limit: 10,
        };
        let Ok(SubscriptionAnswer::AsideList { rows, .. }) = ask(&mut node, verb) else {
            panic!("no list")
        };
        assert_eq!(rows[0].text, "no such order");
        forward_to(&mut node, "others");
        let sent = letters(&mut node);
        assert_eq!(&*sent[0].to, "others");
    }
}

#[test]
fn a_queue_is_not_its_own_dead_letter_queue() {
    let mut node = with_dead(2, 3);
    let change = Some(DeadLetters::To("q"));
    let refused = ask(&mut node, SubscriptionVerb::DeadLetters { change });
    assert_eq!(refused, Err(ErrorCode::OutOfRange));
    let asked = ask(&mut node, SubscriptionVerb::DeadLetters { change: None });
    assert_eq!(asked, Ok(SubscriptionAnswer::DeadLetters { to: None }));
}

#[test]
fn letters_outlive_checkpoints_and_what_they_hold_goes_with_its_subscription() {
    let mut node = with_dead(2, 3);
    forward_to(&mut node, "graves");
    let sent = letters(&mut node);
    node.chunks.checkpoint(&node.engine.cut());
    let end = node.engine.positions().end;
    node.restart_from_checkpoint(end, T0, 2);
    node.durable();
    assert_eq!(letters(&mut node), sent);
    assert_eq!(
        ask(&mut node, SubscriptionVerb::Delete),
        Ok(SubscriptionAnswer::Deleted)
    );
    answer(&mut node, &sent[0], ErrorCode::Ok);
    assert_eq!(letters(&mut node), []);
}
