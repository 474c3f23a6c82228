//! How a subscription is shown.

use std::time::Duration;

use corelane::config::quantity::format_duration;
use corelane_client::{Contract, ReturnTo, SubscriptionDetail, is_ephemeral};
use serde::Serialize;

use super::super::output::{Row, age, preview};

/// A subscription in JSON or in a line of a table: its messages.
#[derive(Serialize)]
pub(super) struct Details {
    queue: String,
    subscription: String,
    begin: u64,
    finished: u64,
    position: u64,
    ephemeral: bool,
    contract: &'static str,
    returned: &'static str,
    in_flight_max: u32,
    rate_max: u32,
    attempts_max: u32,
    backoff_ms: u64,
    backoff_max_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Paused>,
    enqueued: u64,
    ready: u64,
    delayed: u64,
    leased: u64,
    parked: u64,
    dead: u64,
    done: u64,
    expired: u64,
    purged: u64,
    missed: u64,
    consumers: u32,
}

/// Why nothing is given out.
#[derive(Serialize)]
struct Paused {
    since_ms: u64,
    reason: String,
}

/// The same subscription in a line of another table: where it stands, and its configuration.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Settings<'a>(pub(super) &'a Details);

impl Details {
    pub(super) fn new(queue: &str, detail: SubscriptionDetail) -> Self {
        Self {
            queue: queue.to_owned(),
            ephemeral: is_ephemeral(&detail.name),
            subscription: detail.name,
            begin: detail.begin.0,
            finished: detail.finished.0,
            position: detail.position.0,
            contract: match detail.config.contract {
                Contract::Competing => "competing",
                Contract::AtMostOnce => "at-most-once",
                Contract::SingleActive => "single-active",
                Contract::KeyOrdered => "key-ordered",
                Contract::Reader => "reader",
                Contract::Broadcast => "broadcast",
            },
            returned: match detail.config.returned {
                ReturnTo::Front => "front",
                ReturnTo::Back => "back",
            },
            in_flight_max: detail.config.in_flight_max,
            rate_max: detail.config.rate_max,
            attempts_max: detail.config.attempts_max,
            backoff_ms: detail.config.backoff_ms,
            backoff_max_ms: detail.config.backoff_max_ms,
            paused: detail.paused.then(|| Paused {
                since_ms: detail.paused_since.as_millis(),
                reason: detail.pause_reason,
            }),
            enqueued: detail.enqueued,
            ready: detail.ready,
            delayed: detail.delayed,
            leased: detail.leased,
            parked: detail.parked,
            dead: detail.dead,
            done: detail.done,
            expired: detail.expired,
            purged: detail.purged,
            missed: detail.missed,
            consumers: detail.consumers,
        }
    }

    fn state(&self) -> String {
        match &self.paused {
            None if self.ephemeral => "ephemeral".to_owned(),
            None => "active".to_owned(),
            Some(paused) if paused.reason.is_empty() => "paused".to_owned(),
            Some(paused) => format!("paused: {}", preview(paused.reason.as_bytes(), 40)),
        }
    }
}

impl Row for Details {
    const HEADINGS: &'static [&'static str] = &[
        "SUBSCRIPTION",
        "READY",
        "DELAYED",
        "LEASED",
        "PARKED",
        "DEAD",
        "DONE",
        "EXPIRED",
        "PURGED",
        "CONSUMERS",
        "STATE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.subscription.clone(),
            self.ready.to_string(),
            self.delayed.to_string(),
            self.leased.to_string(),
            self.parked.to_string(),
            self.dead.to_string(),
            self.done.to_string(),
            self.expired.to_string(),
            self.purged.to_string(),
            self.consumers.to_string(),
            self.state(),
        ]
    }
}

impl Row for Settings<'_> {
    const HEADINGS: &'static [&'static str] = &[
        "BEGIN",
        "FINISHED",
        "POSITION",
        "ENQUEUED",
        "CONTRACT",
        "RETURNED",
        "IN FLIGHT MAX",
        "RATE MAX",
        "ATTEMPTS MAX",
        "BACKOFF",
        "BACKOFF MAX",
        "PAUSED",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(details) = self;
        let millis = |millis| format_duration(Duration::from_millis(millis));
        let or = |value: u64, text: &str, shown: String| {
            if value == 0 { text.to_owned() } else { shown }
        };
        let bound = |max: u32| or(max.into(), "any", max.to_string());
        vec![
            details.begin.to_string(),
            details.finished.to_string(),
            details.position.to_string(),
            details.enqueued.to_string(),
            details.contract.to_owned(),
            details.returned.to_owned(),
            bound(details.in_flight_max),
            bound(details.rate_max),
            bound(details.attempts_max),
            or(details.backoff_ms, "none", millis(details.backoff_ms)),
            or(
                details.backoff_max_ms,
                "366d",
                millis(details.backoff_max_ms),
            ),
            details.paused.as_ref().map_or_else(
                || "no".to_owned(),
                |paused| format!("{} ago", age(paused.since_ms)),
            ),
        ]
    }
}
