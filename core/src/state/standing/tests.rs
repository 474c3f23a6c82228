use super::*;

use corelane_wire::{Aside, AsideCause, OffsetRange, SessionId, Timestamp};

use crate::ids::SubscriptionId;
use crate::state::HeldRun;
use crate::state::aside::SetAside;
use crate::state::behind::Comeback;
use crate::time::LeaseTime;

const BACK: Comeback = Comeback {
    lsn: corelane_wire::Lsn(1),
    queue_end: Offset(10),
};

fn held(first: u64, count: u32) -> HeldRun {
    HeldRun {
        first: Offset(first),
        count,
        attempt: 1,
        deadline: LeaseTime(0),
    }
}

#[test]
fn every_message_stands_somewhere() {
    let mut of = Subscription::new(SubscriptionId(0), "s".into(), Offset(0));
    let range = |first, count| OffsetRange {
        first: Offset(first),
        count,
    };
    of.schedule(Timestamp(9), range(7, 1));
    of.advance(range(0, 6), Offset(10));
    of.finish(held(1, 1));
    of.give_back(held(2, 1), 4, BACK);
    of.delay(held(3, 1), 1, Timestamp(9));
    let row = SetAside {
        count: 2,
        attempts: 1,
        cause: AsideCause::Rejected,
        since: Timestamp(0),
        leased: Timestamp(0),
        session: SessionId(1),
        text: "".into(),
    };
    of.set_aside(held(4, 2), Aside::Dead, row);
    let all: Vec<_> = (0..10).map(|at| of.standing(Offset(at))).collect();
    let (new, held, over) = (Standing::New, Standing::Held, Standing::Over);
    let again = Standing::Returned(4);
    assert_eq!(
        all,
        [held, over, again, held, over, over, new, held, new, new]
    );
    let unfinished = |from| of.unfinished_from(Offset(from), Offset(10)).0;
    assert_eq!([0, 1, 4, 5, 9].map(unfinished), [0, 2, 6, 6, 9]);
    assert_eq!(of.unfinished_from(Offset(4), Offset(5)), Offset(5));
}
