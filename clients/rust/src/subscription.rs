//! One subscription as a whole: its life, what it does with failures, and what it has set aside.

mod aside;

use corelane_wire::limits::{DELAY_MS_MAX, REASON_BYTES_MAX};
use corelane_wire::{
    DeadLetters, Lane, Offset, OnSubscription, PurgeStates, Request, Start, SubscriptionAnswer,
    SubscriptionConfig, SubscriptionDetail, SubscriptionVerb,
};

use crate::answer::Answer;
use crate::client::{Client, Route, check_name, check_subscription_name};
use crate::error::Error;

pub use aside::{AsidePage, Returned};

/// Manages one subscription; made by [`Admin::subscription`](crate::Admin::subscription).
///
/// Making it sends nothing and checks no name; the subscription need not exist. Each call is repeated until it is
/// answered or the client's `call_timeout` is over, and can be dropped at any point; a call that was dropped may have
/// taken effect.
///
/// ```no_run
/// # async fn example(client: corelane_client::Client) -> Result<(), corelane_client::Error> {
/// use corelane_client::{SubscriptionConfig, SubscriptionOptions};
///
/// let billing = client.admin().subscription("orders", "billing");
/// let options = SubscriptionOptions {
///     // Five attempts, with pauses of 1 s, 2 s, 4 s and 8 s at most between them.
///     config: SubscriptionConfig {
///         attempts_max: 5,
///         backoff_ms: 1_000,
///         ..SubscriptionConfig::default()
///     },
///     ..SubscriptionOptions::default()
/// };
/// billing.create(options).await?;
/// billing.pause("the bank is closed").await?;
/// println!("{} messages wait", billing.show().await?.ready);
/// billing.resume().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Subscription {
    client: Client,
    queue: String,
    /// Empty for the default one.
    name: String,
}

/// How a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionOptions {
    /// Where; `None`: the first subscription of a queue at the earliest message, later ones behind the last.
    ///
    /// To begin at a time, ask [`Admin::offset_since`](crate::Admin::offset_since) for the offset.
    pub start: Option<Start>,
    /// How it treats failed attempts; unless changed without limit and back-off.
    pub config: SubscriptionConfig,
}

impl Subscription {
    pub(crate) fn new(client: Client, queue: &str, name: &str) -> Self {
        Self {
            client,
            queue: queue.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Creates it, and its queue if need be; false if it was there with the same configuration, wherever it stands.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument. The broker refuses with
    /// `subscription_exists` if it has another configuration, with `offset_not_kept` if the start is not between the
    /// first message that is kept and the end. If the connection broke after the broker had created it, the repeated
    /// request says that it was there.
    pub async fn create(&self, options: SubscriptionOptions) -> Result<bool, Error> {
        check_config(options.config)?;
        let verb = SubscriptionVerb::Create {
            start: options.start,
            config: options.config,
        };
        let SubscriptionAnswer::Created { created } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(created)
    }

    /// What there is to know about it: where it stands, how it is configured, and how many messages are in which
    /// state.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn show(&self) -> Result<SubscriptionDetail, Error> {
        let SubscriptionAnswer::Shown(detail) = self.ask(SubscriptionVerb::Show).await? else {
            return Err(Error::unexpected());
        };
        Ok(*detail)
    }

    /// Replaces its configuration as a whole; it holds for attempts that fail from now on.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument.
    pub async fn configure(&self, config: SubscriptionConfig) -> Result<(), Error> {
        check_config(config)?;
        let verb = SubscriptionVerb::Configure { config };
        let SubscriptionAnswer::Configured = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(())
    }

    /// Gives no message out until it is resumed, over restarts too; what is leased can still be settled. The reason has
    /// at most 256 bytes and is shown; if it is paused already, it replaces the earlier one.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument.
    pub async fn pause(&self, reason: &str) -> Result<(), Error> {
        check_range(
            "bytes of the reason",
            reason.len() as u64,
            REASON_BYTES_MAX as u64,
        )?;
        let verb = SubscriptionVerb::Pause { reason };
        let SubscriptionAnswer::Paused = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(())
    }

    /// Gives messages out again.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn resume(&self) -> Result<(), Error> {
        let SubscriptionAnswer::Resumed = self.ask(SubscriptionVerb::Resume).await? else {
            return Err(Error::unexpected());
        };
        Ok(())
    }

    /// Lets dead messages go to a queue, those that are dead already included, or stay where they are. Returns where they
    /// go now.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn forward_dead(&self, change: DeadLetters<'_>) -> Result<Option<String>, Error> {
        if let DeadLetters::To(queue) = change {
            check_name(queue)?;
        }
        self.ask_dead_letters(Some(change)).await
    }

    /// The queue that dead messages go to, if they do.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name.
    pub async fn dead_letters(&self) -> Result<Option<String>, Error> {
        self.ask_dead_letters(None).await
    }

    async fn ask_dead_letters(
        &self,
        change: Option<DeadLetters<'_>>,
    ) -> Result<Option<String>, Error> {
        let verb = SubscriptionVerb::DeadLetters { change };
        let SubscriptionAnswer::DeadLetters { to } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(to)
    }

    /// Lets it begin anew at another place, as if it had been deleted and made again there with the same
    /// configuration: its leases end, and what it has done and set aside is forgotten. Returns the offset.
    ///
    /// # Errors
    /// As [`Subscription::create`], but it must exist.
    pub async fn seek(&self, start: Start) -> Result<Offset, Error> {
        let verb = SubscriptionVerb::Seek { start };
        let SubscriptionAnswer::Sought { at } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(at)
    }

    /// Deletes it; messages that no other one needs go with it.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad name. If the connection broke after the broker
    /// had deleted it, the repeated request says that the subscription is not found.
    pub async fn delete(&self) -> Result<(), Error> {
        let SubscriptionAnswer::Deleted = self.ask(SubscriptionVerb::Delete).await? else {
            return Err(Error::unexpected());
        };
        Ok(())
    }

    /// Finishes messages without delivering them, and says how many; what is leased stays so.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument: no state at all. If the connection broke
    /// after the broker had purged, the repeated request counts only what came since.
    pub async fn purge(&self, states: PurgeStates) -> Result<u64, Error> {
        if !(states.waiting || states.parked || states.dead) {
            return Err(out_of_range("states to purge", 0, 1, 7));
        }
        let verb = SubscriptionVerb::Purge { states };
        let SubscriptionAnswer::Purged { count } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(count)
    }

    /// Says that a reader has read everything before `offset` for good, and returns where its checkpoint is now: further
    /// on, if it was already.
    ///
    /// # Errors
    /// What the broker refused with ([`ErrorCode::OutOfRange`](crate::ErrorCode::OutOfRange) if so much was not given
    /// out since the consumer became active, [`ErrorCode::NotSupported`](crate::ErrorCode::NotSupported) if it is no
    /// reader), [`Error::Deadline`], or a bad name.
    pub async fn checkpoint(&self, offset: Offset) -> Result<Offset, Error> {
        let verb = SubscriptionVerb::Checkpoint { offset };
        let SubscriptionAnswer::Checkpointed { at } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(at)
    }

    async fn ask(&self, verb: SubscriptionVerb<'_>) -> Result<SubscriptionAnswer, Error> {
        check_name(&self.queue)?;
        check_subscription_name(&self.name)?;
        let lane = Lane(0);
        let request = Request::Subscription(OnSubscription {
            queue: &self.queue,
            lane,
            subscription: &self.name,
            verb,
        });
        let route = Route::Queue(&self.queue, lane);
        let Answer::Subscription(answer) = self.client.ask(route, &request).await? else {
            return Err(Error::unexpected());
        };
        Ok(answer)
    }
}

fn check_config(config: SubscriptionConfig) -> Result<(), Error> {
    check_range("back-off in milliseconds", config.backoff_ms, DELAY_MS_MAX)?;
    check_range(
        "greatest back-off in milliseconds",
        config.backoff_max_ms,
        DELAY_MS_MAX,
    )
}

fn check_range(what: &'static str, value: u64, max: u64) -> Result<(), Error> {
    if value <= max {
        return Ok(());
    }
    Err(out_of_range(what, value, 0, max))
}

const fn out_of_range(what: &'static str, value: u64, min: u64, max: u64) -> Error {
    Error::OutOfRange {
        what,
        value,
        min,
        max,
    }
}
