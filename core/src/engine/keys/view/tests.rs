use super::*;

use corelane_wire::OffsetRange;

use crate::ids::SubscriptionId;
use crate::state::HeldRun;
use crate::state::behind::Comeback;
use crate::time::LeaseTime;

const NOTHING: [u64; 0] = [];

fn subscription() -> Subscription {
    Subscription::new(SubscriptionId(0), "s".into(), Offset(0))
}

fn keys(text: &str) -> Vec<Key> {
    let letters = text.bytes().map(|letter| match letter {
        b'-' => None,
        letter => Some([letter]),
    });
    letters
        .map(|key| Key::of(key.as_ref().map(<[u8; 1]>::as_slice)))
        .collect()
}

const BACK: Comeback = Comeback {
    lsn: corelane_wire::Lsn(1),
    queue_end: Offset(10),
};

fn run(first: u64) -> HeldRun {
    HeldRun {
        first: Offset(first),
        count: 1,
        attempt: 1,
        deadline: LeaseTime(0),
    }
}

/// Gives out a message.
fn lease(view: &mut View, of: &mut Subscription, offset: u64) {
    let range = OffsetRange {
        first: Offset(offset),
        count: 1,
    };
    assert!(of.take(range, Offset(100_000)).is_some(), "{offset}");
    view.give(range.first, range.end());
}

fn finish(view: &mut View, of: &mut Subscription, offset: u64) {
    of.finish(run(offset));
    view.change(of, Offset(offset), Offset(offset + 1));
}

fn givable(view: &View) -> Vec<u64> {
    view.givable(Offset(u64::MAX))
        .map(|offset| offset.0)
        .collect()
}

/// A view of messages with these keys.
fn view(text: &str, max: usize) -> (View, Subscription) {
    let of = subscription();
    let mut view = View::from((1, max), Offset(0), Vec::new());
    view.follow(&of, Offset(0), &keys(text));
    (view, of)
}

#[test]
fn the_first_of_each_key_may_go_and_its_next_one_when_it_is_over() {
    let (mut view, mut of) = view("aab-ba", 10);
    assert_eq!(givable(&view), [0, 2, 3]);
    lease(&mut view, &mut of, 2);
    lease(&mut view, &mut of, 0);
    assert_eq!(givable(&view), [3]);
    finish(&mut view, &mut of, 0);
    assert_eq!(givable(&view), [1, 3]);
    of.give_back(run(2), 1, BACK);
    view.change(&of, Offset(2), Offset(3));
    assert_eq!(givable(&view), [1, 2, 3], "and 4 waits for it");
}

#[test]
fn what_is_not_read_holds_up_what_is_behind_it() {
    let of = subscription();
    let mut view = View::from((1, 10), Offset(0), Vec::new());
    view.follow(&of, Offset(3), &keys("ab"));
    assert_eq!(givable(&view), NOTHING);
    assert_eq!(view.wanted(&of, Offset(5)), Some((Offset(0), Offset(3))));
    assert!(view.is_behind(&of, Offset(5)) && !view.is_behind(&of, Offset(0)));
    view.read(&of, Offset(0), keys("ba").into_iter());
    assert_eq!(givable(&view), [0, 1]);
    view.read(&of, Offset(2), keys("-ba").into_iter());
    assert_eq!(givable(&view), [0, 1, 2]);
    assert_eq!(view.wanted(&of, Offset(5)), None);
}

#[test]
fn a_full_view_grows_when_something_is_finished() {
    let (mut view, mut of) = view("aaa", 3);
    view.follow(&of, Offset(3), &keys("b"));
    assert_eq!(view.wanted(&of, Offset(4)), None);
    lease(&mut view, &mut of, 0);
    finish(&mut view, &mut of, 0);
    assert_eq!(view.wanted(&of, Offset(4)), Some((Offset(3), Offset(4))));
    view.read(&of, Offset(3), keys("bb").into_iter());
    assert_eq!(givable(&view), [1, 3]);
    assert_eq!(view.wanted(&of, Offset(5)), None, "it is full again");
}

#[test]
fn what_comes_back_from_aside_is_read_again_and_waits_for_what_is_leased() {
    let (mut view, mut of) = view("aab", 3);
    let row = crate::state::aside::SetAside {
        count: 1,
        attempts: 1,
        cause: corelane_wire::AsideCause::Rejected,
        since: corelane_wire::Timestamp(0),
        leased: corelane_wire::Timestamp(0),
        session: corelane_wire::SessionId(1),
        text: "".into(),
    };
    lease(&mut view, &mut of, 0);
    of.set_aside(run(0), corelane_wire::Aside::Parked, row);
    view.change(&of, Offset(0), Offset(1));
    assert_eq!(givable(&view), [1, 2]);
    lease(&mut view, &mut of, 1);
    let range = OffsetRange {
        first: Offset(0),
        count: 1,
    };
    assert!(view.come_back(Offset(0), Offset(1)));
    of.bring_back(corelane_wire::Aside::Parked, range, BACK);
    assert_eq!(givable(&view), NOTHING, "it is not read");
    assert_eq!(view.wanted(&of, Offset(3)), Some((Offset(0), Offset(1))));
    view.read(&of, Offset(0), keys("aab").into_iter());
    assert_eq!(givable(&view), [2], "one of its key is leased");
    finish(&mut view, &mut of, 1);
    assert_eq!(givable(&view), [0, 2]);
    assert!(!view.come_back(Offset(0), Offset(3)), "there is no room");
}

#[test]
fn what_was_leased_before_holds_up_its_key() {
    let mut of = subscription();
    let range = OffsetRange {
        first: Offset(0),
        count: 3,
    };
    of.advance(range, Offset(4));
    of.give_back(run(0), 1, BACK);
    of.delay(run(2), 1, corelane_wire::Timestamp(5));
    let mut view = View::from((1, 10), Offset(0), vec![(Offset(1), Offset(2))]);
    view.read(&of, Offset(0), keys("aaba").into_iter());
    assert_eq!(givable(&view), NOTHING, "1 is leased, and 2 is delayed");
    finish(&mut view, &mut of, 1);
    assert_eq!(givable(&view), [0]);
    of.come_due(corelane_wire::Timestamp(5), BACK);
    view.change(&of, Offset(2), Offset(3));
    assert_eq!(givable(&view), [0, 2]);
}

#[test]
fn nothing_goes_before_the_keys_of_what_is_leased_are_known() {
    let mut of = subscription();
    let range = OffsetRange {
        first: Offset(0),
        count: 3,
    };
    of.advance(range, Offset(4));
    of.give_back(run(0), 1, BACK);
    let mut view = View::from((1, 10), Offset(0), vec![(Offset(1), Offset(3))]);
    view.read(&of, Offset(0), keys("a").into_iter());
    assert_eq!(givable(&view), NOTHING, "1 and 2 may have its key");
    finish(&mut view, &mut of, 2);
    assert_eq!(givable(&view), NOTHING, "1 may");
    view.read(&of, Offset(1), keys("bb").into_iter());
    assert_eq!(givable(&view), [0]);
}
