use super::*;
use corelane_wire::{Epoch, Lsn};

use crate::ids::{QueueId, SubscriptionId};

const SESSION: SessionId = SessionId(5);
const GIVEN: Timestamp = Timestamp(3);
const KEY: SubscriptionKey = (QueueId(1), SubscriptionId(2));
const ID: LeaseId = LeaseId {
    epoch: Epoch(1),
    lsn: Lsn(9),
};

fn run(first: u64, count: u32, deadline: u64) -> HeldRun {
    HeldRun {
        first: Offset(first),
        count,
        attempt: 1,
        deadline: LeaseTime(deadline),
    }
}

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn leases(runs: &[HeldRun]) -> Leases {
    let mut leases = Leases::default();
    leases.open(ID, (KEY, SESSION, GIVEN), runs.to_vec());
    leases
}

#[test]
fn remove_takes_pieces_out_of_several_runs() {
    let mut leases = leases(&[run(0, 10, 50), run(10, 10, 60), run(30, 5, 60)]);
    let mut removed = Vec::new();
    assert!(leases.remove(ID, KEY, range(5, 10), &mut removed));
    assert_eq!(removed, [run(5, 5, 50), run(10, 5, 60)]);
    let lease = leases.get(ID).unwrap();
    assert_eq!(
        lease.runs(),
        [run(0, 5, 50), run(15, 5, 60), run(30, 5, 60)]
    );
}

#[test]
fn remove_of_more_than_is_held_has_no_effect() {
    let mut leases = leases(&[run(0, 10, 50), run(12, 10, 50)]);
    let mut removed = Vec::new();
    for beyond in [range(5, 10), range(11, 1), range(20, 5), range(100, 1)] {
        assert!(!leases.remove(ID, KEY, beyond, &mut removed), "{beyond}");
    }
    let other = (QueueId(1), SubscriptionId(3));
    assert!(!leases.remove(ID, other, range(0, 1), &mut removed));
    assert_eq!(removed, []);
    assert_eq!(leases.get(ID).unwrap().runs().len(), 2);
}

#[test]
fn lease_ends_with_its_last_message() {
    let mut leases = leases(&[run(0, 2, 50)]);
    let mut removed = Vec::new();
    assert!(leases.remove(ID, KEY, range(1, 1), &mut removed));
    assert!(leases.remove(ID, KEY, range(0, 1), &mut removed));
    assert!(leases.get(ID).is_none());
    assert_eq!(leases.next_deadline(), None);
    assert!(!leases.has_session(SessionId(5)));
}

#[test]
fn extend_splits_and_joins_again() {
    let mut leases = leases(&[run(0, 10, 50)]);
    assert!(leases.extend(ID, KEY, range(4, 2), LeaseTime(90)));
    assert_eq!(
        leases.get(ID).unwrap().runs(),
        [run(0, 4, 50), run(4, 2, 90), run(6, 4, 50)]
    );
    assert_eq!(leases.next_deadline(), Some(LeaseTime(50)));
    assert!(leases.extend(ID, KEY, range(0, 10), LeaseTime(90)));
    assert_eq!(leases.get(ID).unwrap().runs(), [run(0, 10, 90)]);
    assert_eq!(leases.next_deadline(), Some(LeaseTime(90)));
}

#[test]
fn expiry_takes_only_what_is_past_its_deadline() {
    let mut leases = leases(&[run(0, 1, 50), run(1, 1, 60)]);
    let mut removed = Vec::new();
    assert_eq!(leases.expire_first(LeaseTime(49), &mut removed), None);
    let expired = leases.expire_first(LeaseTime(50), &mut removed);
    let holder = Holder {
        session: SESSION,
        given: GIVEN,
    };
    assert_eq!(expired, Some((ID, KEY, holder)));
    assert_eq!(removed, [run(0, 1, 50)]);
    assert_eq!(leases.next_deadline(), Some(LeaseTime(60)));
}
