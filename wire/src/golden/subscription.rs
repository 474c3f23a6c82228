//! Requests about one subscription, and their answers.

use super::*;
use crate::request::{
    Aside, Contract, DeadLetters, Fate, OnSubscription, PurgeStates, Reject, ReturnTo, Start,
    SubscriptionConfig, SubscriptionVerb,
};
use crate::response::{AsideCause, AsideInfo, SubscriptionAnswer, SubscriptionDetail};

const CONFIG: SubscriptionConfig = SubscriptionConfig {
    contract: Contract::SingleActive,
    returned: ReturnTo::Back,
    in_flight_max: 1_000,
    rate_max: 50,
    attempts_max: 10,
    backoff_ms: 1_500,
    backoff_max_ms: 31_622_400_000,
};

pub(super) fn requests(settle: Settle<'_>) -> Vec<(&'static str, Request<'_>)> {
    let on = |verb| {
        Request::Subscription(OnSubscription {
            queue: "orders",
            lane: Lane(0),
            subscription: "billing",
            verb,
        })
    };
    let reject = Request::Reject(Reject {
        settle,
        fate: Fate::Park,
        text: "lock held by \u{1f512}",
    });
    let start = Some(Start::At(Offset(1 << 33)));
    let config = CONFIG;
    let create = SubscriptionVerb::Create { start, config };
    let reason = "deploy";
    let states = PurgeStates {
        waiting: true,
        parked: false,
        dead: true,
    };
    let list = SubscriptionVerb::ListAside {
        aside: Aside::Dead,
        from: Offset(7),
        limit: 1_000,
    };
    let back = SubscriptionVerb::Return {
        aside: Aside::Parked,
        first: Offset(7),
        end: Offset(1 << 40),
        max: 10_000,
    };
    vec![
        ("reject", reject),
        ("subscription_create", on(create)),
        ("subscription_show", on(SubscriptionVerb::Show)),
        (
            "subscription_configure",
            on(SubscriptionVerb::Configure { config }),
        ),
        ("subscription_pause", on(SubscriptionVerb::Pause { reason })),
        ("subscription_resume", on(SubscriptionVerb::Resume)),
        (
            "subscription_seek",
            on(SubscriptionVerb::Seek {
                start: Start::Earliest,
            }),
        ),
        ("subscription_delete", on(SubscriptionVerb::Delete)),
        ("subscription_purge", on(SubscriptionVerb::Purge { states })),
        ("aside_list", on(list)),
        ("aside_return", on(back)),
        (
            "subscription_dead_letters",
            on(SubscriptionVerb::DeadLetters {
                change: Some(DeadLetters::To("graves")),
            }),
        ),
        (
            "subscription_checkpoint",
            on(SubscriptionVerb::Checkpoint {
                offset: Offset(1 << 33),
            }),
        ),
    ]
}

pub(super) fn responses() -> Vec<(&'static str, Response<'static>)> {
    let answers = [
        (
            "subscription_created",
            SubscriptionAnswer::Created { created: true },
        ),
        (
            "subscription",
            SubscriptionAnswer::Shown(Box::new(detail())),
        ),
        ("subscription_configured", SubscriptionAnswer::Configured),
        ("subscription_paused", SubscriptionAnswer::Paused),
        ("subscription_resumed", SubscriptionAnswer::Resumed),
        (
            "subscription_sought",
            SubscriptionAnswer::Sought {
                at: Offset(1 << 33),
            },
        ),
        ("subscription_deleted", SubscriptionAnswer::Deleted),
        (
            "subscription_purged",
            SubscriptionAnswer::Purged { count: 1 << 33 },
        ),
        (
            "aside_list",
            SubscriptionAnswer::AsideList {
                rows: vec![row(7, AsideCause::Attempts), row(20, AsideCause::Rejected)],
                more: true,
            },
        ),
        (
            "aside_returned",
            SubscriptionAnswer::Returned {
                count: 10_000,
                next: Offset(1 << 40),
            },
        ),
        ("subscription_dead_letters", dead_letters()),
        (
            "subscription_checkpointed",
            SubscriptionAnswer::Checkpointed {
                at: Offset(1 << 33),
            },
        ),
    ];
    answers
        .into_iter()
        .map(|(name, answer)| (name, Response::Subscription(answer)))
        .collect()
}

fn dead_letters() -> SubscriptionAnswer {
    let to = Some("graves".to_owned());
    SubscriptionAnswer::DeadLetters { to }
}

fn row(first: u64, cause: AsideCause) -> AsideInfo {
    AsideInfo {
        range: OffsetRange {
            first: Offset(first),
            count: 3,
        },
        attempts: 10,
        cause,
        since: Timestamp(1_800_000_000_987_654_321),
        leased: Timestamp(1_800_000_000_123_456_789),
        session: SESSION,
        text: "no such customer".to_owned(),
    }
}

fn detail() -> SubscriptionDetail {
    SubscriptionDetail {
        name: "billing".to_owned(),
        begin: Offset(1),
        finished: Offset(2),
        position: Offset(1 << 40),
        config: CONFIG,
        paused: true,
        pause_reason: "deploy".to_owned(),
        paused_since: Timestamp(1_800_000_000_000_000_000),
        enqueued: 360,
        ready: 10,
        delayed: 20,
        leased: 30,
        parked: 40,
        dead: 50,
        done: 60,
        expired: 70,
        purged: 80,
        consumers: 4,
        missed: 90,
    }
}
