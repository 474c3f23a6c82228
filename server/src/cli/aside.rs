//! `corelane dead ls|show|redrive|forward` and `corelane park ls|show|kick`.

mod filter;
mod forward;
mod returning;
mod rows;

use clap::{Args, Subcommand};
use corelane_client::{Aside, Offset};
use serde::Serialize;

use self::filter::{Condition, Filter};
use self::forward::Forward;
use self::returning::Return;
use self::rows::{AsideRow, History, Pages};
use super::Common;
use super::exit::Failure;
use super::output::{self, Format};
use super::shown::Shown;

/// Commands about messages that failed too often, or were rejected for good.
#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List the dead messages.
    Ls(Ls),
    /// Show one dead message: what became of it, and its body.
    Show(Show),
    /// Give dead messages out again, beginning with attempt 1.
    Redrive(Return),
    /// Let dead messages go to a dead-letter queue, those that are dead already included.
    Forward(Forward),
}

/// Commands about messages that a consumer set aside.
#[derive(Debug, Subcommand)]
pub(super) enum Park {
    /// List the parked messages.
    Ls(Ls),
    /// Show one parked message: what became of it, and its body.
    Show(Show),
    /// Give parked messages out again; their attempts go on counting.
    Kick(Return),
}

/// Whose messages.
#[derive(Debug, Args)]
struct Of {
    /// The queue.
    queue: String,
    /// The subscription.
    #[arg(long, value_name = "NAME", default_value = "default")]
    subscription: String,
}

/// Arguments of `dead ls` and `park ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    #[command(flatten)]
    of: Of,
    /// Only messages for which this holds, such as cause=attempts, attempts>=3, text~timeout, age<1h
    /// or offset>=100; may be given several times.
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// Rows at most; neighbours with the same history share one.
    #[arg(short = 'n', long = "count", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Arguments of `dead show` and `park show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    of: Of,
    /// Offset of the message.
    offset: u64,
}

/// A message that was set aside, with itself.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    row: AsideRow,
    /// `None` if it cannot be read.
    message: Option<Shown>,
}

impl Dead {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(common, Aside::Dead).await,
            Self::Show(show) => show.run(common, Aside::Dead).await,
            Self::Redrive(redrive) => redrive.run(common, Aside::Dead).await,
            Self::Forward(forward) => forward.run(common).await,
        }
    }
}

impl Park {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(common, Aside::Parked).await,
            Self::Show(show) => show.run(common, Aside::Parked).await,
            Self::Kick(kick) => kick.run(common, Aside::Parked).await,
        }
    }
}

impl Ls {
    async fn run(self, common: &Common, aside: Aside) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let subscription = admin.subscription(&self.of.queue, &self.of.subscription);
        let filter = Filter::new(self.conditions);
        let mut pages = Pages::new(&subscription, aside, &filter, Offset(u64::MAX));
        let count_max = self.count.map_or(usize::MAX, |count| {
            usize::try_from(count).unwrap_or(usize::MAX)
        });
        let mut rows: Vec<AsideRow> = Vec::new();
        while rows.len() < count_max
            && let Some(page) = pages.next().await?
        {
            rows.extend(page.iter().map(AsideRow::from));
        }
        client.close().await;
        rows.truncate(count_max);
        output::list(common.output, &rows)
    }
}

impl Show {
    async fn run(self, common: &Common, aside: Aside) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let Of {
            queue,
            subscription,
        } = &self.of;
        let offset = Offset(self.offset);
        let subscription = admin.subscription(queue, subscription);
        let page = subscription.aside_list(aside, offset, 1).await?;
        let found = page.rows.iter().find(|row| {
            let range = row.range;
            (range.first..range.end()).contains(&offset)
        });
        let Some(found) = found else {
            let state = match aside {
                Aside::Dead => "dead",
                Aside::Parked => "parked",
            };
            return Err(Failure::other(format!(
                "message {offset} of {queue} is not {state}"
            )));
        };
        let row = AsideRow::one(found, offset);
        let peeked = admin.peek(queue, offset, 1).await?.into_iter().next();
        let message = peeked.transpose()?.filter(|it| it.offset() == offset);
        client.close().await;
        if common.output != Format::Table {
            let message = message.as_ref().map(Shown::of_peeked);
            return output::line(&output::item_json(&Whole { row, message })?);
        }
        output::one(Format::Table, &History(&row))?;
        output::line("")?;
        let body = message.as_ref().map_or(&[][..], |message| message.body());
        output::bytes(&[body, b"\n"])
    }
}
