//! `corelane subscription`, and `pause`, `resume` and `purge`.

mod shown;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use corelane_client::{
    Client, Contract, Offset, PurgeStates, ReturnTo, SubscriptionConfig, SubscriptionOptions,
};
use serde::Serialize;

use super::consent::Consent;
use super::exit::{Failure, NOT_FOUND};
use super::output::{self, Format, Row};
use super::start::Place;
use super::{Common, chat, duration};
use shown::{Details, Settings};

/// Commands about subscriptions.
#[derive(Debug, Subcommand)]
pub(super) enum Subscription {
    /// List the subscriptions of a queue.
    Ls(Ls),
    /// Show one subscription with its configuration.
    Show(Named),
    /// Create a subscription, and its queue if need be.
    Create(Create),
    /// Change what a subscription promises, how much it gives out and how it treats failures; what is not named stays.
    Configure(Configure),
    /// Give nothing out until resumed; survives restarts.
    Pause(Pause),
    /// Give messages out again.
    Resume(Named),
    /// Begin anew elsewhere; what was done, leased or set aside is forgotten.
    Seek(Seek),
    /// Say that a reader has read everything before an offset for good.
    Checkpoint(Checkpoint),
    /// Delete a subscription, with the messages that no other one needs.
    Rm(Rm),
}

/// Arguments of `subscription ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// The queue.
    queue: String,
}

/// One subscription.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(default_value = "default")]
    subscription: String,
}

/// Arguments of `subscription create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    named: Named,
    /// earliest, latest, an offset, an age such as 30m, or a time such as 2026-11-22T08:30:00Z; by
    /// default the first subscription of a queue begins at the earliest message, later ones behind the last.
    #[arg(long, value_name = "PLACE")]
    start: Option<Place>,
    #[command(flatten)]
    terms: Terms,
}

/// Arguments of `subscription configure`.
#[derive(Debug, Args)]
pub(super) struct Configure {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    terms: Terms,
}

/// What consumers are promised, how much is given out, and how failed attempts are treated.
#[derive(Debug, Args)]
struct Terms {
    /// What consumers are promised.
    #[arg(long, value_enum)]
    contract: Option<Promise>,
    /// Where messages that come back have their place: before those that were never given out, or behind all that were
    /// enqueued before they came back.
    #[arg(long, value_enum)]
    returned: Option<ReturnedTo>,
    /// Messages under lease at once; 0: no bound.
    #[arg(long, value_name = "N")]
    in_flight_max: Option<u32>,
    /// Messages given out a second; 0: no bound.
    #[arg(long, value_name = "N")]
    rate_max: Option<u32>,
    /// With how many failed attempts a message is dead; 0: never.
    #[arg(long, value_name = "N")]
    attempts_max: Option<u32>,
    /// Delay after the first failed attempt, doubled with each further one; 0s: none.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    backoff: Option<Duration>,
    /// The delay never exceeds it; 0s: up to 366 days.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    backoff_max: Option<Duration>,
}

/// What consumers are promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Promise {
    /// Each message until somebody finishes it.
    Competing,
    /// Each message once, or never.
    AtMostOnce,
    /// One consumer at a time; the others stand by.
    SingleActive,
    /// Messages with one key one at a time and in order.
    KeyOrdered,
    /// One consumer at a time reads all messages in order, from the checkpoint on.
    Reader,
    /// Every consumer gets every message that comes while it is there.
    Broadcast,
}

/// Where messages that come back have their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum ReturnedTo {
    /// Before those that were never given out.
    Front,
    /// Behind those that were enqueued before they came back.
    Back,
}

impl ReturnedTo {
    const fn place(self) -> ReturnTo {
        match self {
            Self::Front => ReturnTo::Front,
            Self::Back => ReturnTo::Back,
        }
    }
}

impl Promise {
    const fn contract(self) -> Contract {
        match self {
            Self::Competing => Contract::Competing,
            Self::AtMostOnce => Contract::AtMostOnce,
            Self::SingleActive => Contract::SingleActive,
            Self::KeyOrdered => Contract::KeyOrdered,
            Self::Reader => Contract::Reader,
            Self::Broadcast => Contract::Broadcast,
        }
    }
}

/// Arguments of `pause` and `subscription pause`.
#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    named: Named,
    /// Why, for whoever asks; up to 256 bytes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Arguments of `subscription seek`.
#[derive(Debug, Args)]
pub(super) struct Seek {
    #[command(flatten)]
    named: Named,
    /// earliest, latest, an offset, an age such as 30m, or a time such as 2026-11-22T08:30:00Z.
    #[arg(long, value_name = "PLACE")]
    to: Place,
    #[command(flatten)]
    consent: Consent,
}

/// Arguments of `subscription checkpoint`.
#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    #[command(flatten)]
    named: Named,
    /// The first message that is not read for good.
    #[arg(long, value_name = "OFFSET")]
    to: u64,
}

/// Arguments of `subscription rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    consent: Consent,
}

/// Arguments of `purge`.
#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    named: Named,
    /// Which messages; may be given several times.
    #[arg(
        long = "state",
        value_name = "STATE",
        value_enum,
        default_value = "waiting"
    )]
    states: Vec<State>,
    #[command(flatten)]
    consent: Consent,
}

/// What can be purged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum State {
    /// Ready, or delayed.
    Waiting,
    /// Set aside until kicked.
    Parked,
    /// Failed too often, or rejected for good.
    Dead,
}

/// What became of a command that changes something.
#[derive(Serialize)]
struct Changed<'a> {
    queue: &'a str,
    subscription: &'a str,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

/// What a purge finished.
#[derive(Serialize)]
struct Purged<'a> {
    queue: &'a str,
    subscription: &'a str,
    count: u64,
}

impl Subscription {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(common).await,
            Self::Show(named) => named.show(common).await,
            Self::Create(create) => create.run(common).await,
            Self::Configure(configure) => configure.run(common).await,
            Self::Pause(pause) => pause.run(common).await,
            Self::Resume(named) => named.resume(common).await,
            Self::Seek(seek) => seek.run(common).await,
            Self::Checkpoint(checkpoint) => checkpoint.run(common).await,
            Self::Rm(rm) => rm.run(common).await,
        }
    }
}

impl Ls {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let mut rows = Vec::new();
        for subscription in admin.queue_show(&self.queue).await?.subscriptions {
            let subscription = admin.subscription(&self.queue, &subscription.name);
            match subscription.show().await.map_err(Failure::from) {
                Ok(detail) => rows.push(Details::new(&self.queue, detail)),
                // It was deleted meanwhile.
                Err(failure) if failure.code() == NOT_FOUND => {}
                Err(failure) => return Err(failure),
            }
        }
        client.close().await;
        output::list(common.output, &rows)
    }
}

impl Named {
    fn on(&self, client: &Client) -> corelane_client::Subscription {
        client.admin().subscription(&self.queue, &self.subscription)
    }

    async fn show(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let detail = self.on(&client).show().await?;
        client.close().await;
        let details = Details::new(&self.queue, detail);
        output::one(common.output, &details)?;
        if common.output == Format::Table {
            output::line("")?;
            output::one(Format::Table, &Settings(&details))?;
        }
        Ok(())
    }

    pub(super) async fn resume(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        self.on(&client).resume().await?;
        client.close().await;
        self.tell(common, "resumed", None)
    }

    /// Programs get a document, people a remark.
    fn tell(&self, common: &Common, change: &'static str, at: Option<u64>) -> Result<(), Failure> {
        let (queue, subscription) = (&self.queue, &self.subscription);
        match common.output {
            Format::Table => {
                let place = at.map_or_else(String::new, |at| format!(" at {at}"));
                chat(&format!("{subscription} of {queue} {change}{place}"));
                Ok(())
            }
            Format::Json | Format::Jsonl => output::line(&output::item_json(&Changed {
                queue,
                subscription,
                change,
                at,
            })?),
        }
    }
}

impl Create {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let start = match self.start {
            Some(place) => Some(place.find(&client.admin(), &self.named.queue).await?),
            None => None,
        };
        let config = self.terms.over(SubscriptionConfig::default());
        let options = SubscriptionOptions { start, config };
        let created = self.named.on(&client).create(options).await?;
        client.close().await;
        let change = if created { "created" } else { "exists" };
        self.named.tell(common, change, None)
    }
}

impl Configure {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.terms.are_empty() {
            return Err(Failure::usage(
                "nothing to change\n  name --contract, --returned, --in-flight-max, --rate-max, --attempts-max, \
                 --backoff or --backoff-max",
            ));
        }
        let client = common.connect().await?;
        let subscription = self.named.on(&client);
        let config = self.terms.over(subscription.show().await?.config);
        subscription.configure(config).await?;
        client.close().await;
        self.named.tell(common, "configured", None)
    }
}

impl Terms {
    fn are_empty(&self) -> bool {
        let bounds = [self.in_flight_max, self.rate_max, self.attempts_max];
        let times = [self.backoff, self.backoff_max];
        self.contract.is_none()
            && self.returned.is_none()
            && bounds.iter().all(Option::is_none)
            && times.iter().all(Option::is_none)
    }

    /// What is named replaces what was so before.
    fn over(&self, config: SubscriptionConfig) -> SubscriptionConfig {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        SubscriptionConfig {
            contract: self.contract.map_or(config.contract, Promise::contract),
            returned: self.returned.map_or(config.returned, ReturnedTo::place),
            in_flight_max: self.in_flight_max.unwrap_or(config.in_flight_max),
            rate_max: self.rate_max.unwrap_or(config.rate_max),
            attempts_max: self.attempts_max.unwrap_or(config.attempts_max),
            backoff_ms: self.backoff.map_or(config.backoff_ms, millis),
            backoff_max_ms: self.backoff_max.map_or(config.backoff_max_ms, millis),
        }
    }
}

impl Pause {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        self.named.on(&client).pause(&self.reason).await?;
        client.close().await;
        self.named.tell(common, "paused", None)
    }
}

impl Seek {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let Named {
            queue,
            subscription,
        } = &self.named;
        self.consent.ask(&format!(
            "Forget what subscription {subscription} of {queue} has done, and begin anew"
        ))?;
        let client = common.connect().await?;
        let start = self.to.find(&client.admin(), queue).await?;
        let at = self.named.on(&client).seek(start).await?;
        client.close().await;
        self.named.tell(common, "sought", Some(at.0))
    }
}

impl Checkpoint {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let on = self.named.on(&client);
        let at = on.checkpoint(Offset(self.to)).await?;
        client.close().await;
        self.named.tell(common, "checkpointed", Some(at.0))
    }
}

impl Rm {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let Named {
            queue,
            subscription,
        } = &self.named;
        self.consent.ask(&format!(
            "Delete subscription {subscription} of {queue} with what only it needs"
        ))?;
        let client = common.connect().await?;
        let on = self.named.on(&client);
        // As with a queue: the client's own retry could not say whether it was there.
        on.show().await?;
        match on.delete().await.map_err(Failure::from) {
            Err(failure) if failure.code() != NOT_FOUND => return Err(failure),
            Ok(()) | Err(_) => {}
        }
        client.close().await;
        self.named.tell(common, "deleted", None)
    }
}

impl Purge {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Named {
            queue,
            subscription,
        } = &self.named;
        let has = |state| self.states.contains(&state);
        let states = PurgeStates {
            waiting: has(State::Waiting),
            parked: has(State::Parked),
            dead: has(State::Dead),
        };
        let names = self.states.iter().filter_map(State::to_possible_value);
        let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
        self.consent.ask(&format!(
            "Finish all {} messages of subscription {subscription} of {queue} undelivered",
            names.join(" and ")
        ))?;
        let client = common.connect().await?;
        let count = self.named.on(&client).purge(states).await?;
        client.close().await;
        output::one(
            common.output,
            &Purged {
                queue,
                subscription,
                count,
            },
        )
    }
}

impl Row for Purged<'_> {
    const HEADINGS: &'static [&'static str] = &["QUEUE", "SUBSCRIPTION", "PURGED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.to_owned(),
            self.subscription.to_owned(),
            self.count.to_string(),
        ]
    }
}
