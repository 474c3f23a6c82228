//! `corelane queue ls|show|create|configure|config|rm`.

mod config;
mod create;

use clap::{Args, Subcommand};
use corelane_client::{Client, Error, ErrorCode, QueueInfo, SubscriptionDetail, SubscriptionInfo};
use serde::Serialize;

use config::Configure;
use create::Create;

use super::consent::Consent;
use super::exit::{Failure, NOT_FOUND};
use super::output::{self, Format, Row, age};
use super::{Common, chat};

/// Commands about queues.
#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// List the queues.
    Ls,
    /// Show one queue with its subscriptions.
    Show(Named),
    /// Create a queue, if it does not exist.
    Create(Create),
    /// Change what a queue keeps and takes; what is not named stays.
    Configure(Configure),
    /// Show what a queue keeps and takes.
    Config(Named),
    /// Delete a queue with all its messages.
    Rm(Rm),
}

/// One queue.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The queue.
    queue: String,
}

/// Arguments of `queue rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// The queue.
    queue: String,
    #[command(flatten)]
    consent: Consent,
}

/// A queue in JSON or in a line of a table.
#[derive(Serialize)]
struct QueueRow {
    queue: String,
    partition: u32,
    lanes: u32,
    created_ms: u64,
    start: u64,
    end: u64,
    /// Of `queue show`, while anything is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<Oldest>,
    subscriptions: Vec<SubscriptionRow>,
}

/// The oldest message that is kept: what the queue takes on the disk begins with it.
#[derive(Serialize)]
struct Oldest {
    offset: u64,
    enqueued_ms: u64,
    /// What the subscriptions still need.
    needed_by: Vec<String>,
}

/// A subscription in JSON or in a line of a table.
#[derive(Serialize)]
struct SubscriptionRow {
    subscription: String,
    ready: u64,
    leased: u64,
    delayed: u64,
    done: u64,
    consumers: u32,
}

/// What became of a command that changes something.
#[derive(Serialize)]
struct Changed<'a> {
    queue: &'a str,
    change: &'static str,
}

impl Queue {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Ls => ls(common).await,
            Self::Show(named) => show(common, &named.queue).await,
            Self::Create(create) => create.run(common).await,
            Self::Configure(configure) => configure.run(common).await,
            Self::Config(named) => named.config(common).await,
            Self::Rm(rm) => rm.run(common).await,
        }
    }
}

async fn ls(common: &Common) -> Result<(), Failure> {
    let client = common.connect().await?;
    let queues = client.admin().queue_list().await?;
    client.close().await;
    let rows: Vec<_> = queues.into_iter().map(QueueRow::from).collect();
    output::list(common.output, &rows)
}

async fn show(common: &Common, queue: &str) -> Result<(), Failure> {
    let client = common.connect().await?;
    let info = client.admin().queue_show(queue).await?;
    let oldest = oldest(&client, &info).await?;
    client.close().await;
    let row = QueueRow {
        oldest,
        ..info.into()
    };
    output::one(common.output, &row)?;
    if common.output == Format::Table {
        output::line("")?;
        output::list(Format::Table, &row.subscriptions)?;
        if let Some(oldest) = &row.oldest {
            output::line("")?;
            output::one(Format::Table, oldest)?;
        }
    }
    Ok(())
}

/// The oldest message that is kept, if it can be read.
async fn oldest(client: &Client, info: &QueueInfo) -> Result<Option<Oldest>, Failure> {
    if info.start == info.end {
        return Ok(None);
    }
    let peeked = match client.admin().peek(&info.name, info.start, 1).await {
        // The rest of what there is to show is known all the same.
        Err(Error::Refused {
            code: ErrorCode::Damaged,
            ..
        }) => return Ok(None),
        peeked => peeked?,
    };
    let Some(first) = peeked.into_iter().find_map(Result::ok) else {
        return Ok(None);
    };
    let mut needed_by = Vec::new();
    for subscription in &info.subscriptions {
        let on = client.admin().subscription(&info.name, &subscription.name);
        let detail = match on.show().await {
            // Only what the queue itself says is known then.
            Err(Error::Refused {
                code: ErrorCode::Damaged | ErrorCode::SubscriptionNotFound,
                ..
            }) => SubscriptionDetail::default(),
            shown => shown?,
        };
        needed_by.extend(needs(subscription, (detail.parked, detail.dead)));
    }
    Ok(Some(Oldest {
        offset: first.offset().0,
        enqueued_ms: first.enqueued().as_millis(),
        needed_by,
    }))
}

/// What a subscription still needs, in words; `None` if it needs nothing.
fn needs(subscription: &SubscriptionInfo, (parked, dead): (u64, u64)) -> Option<String> {
    let counts = [
        (subscription.ready, "ready"),
        (subscription.leased, "leased"),
        (subscription.delayed, "delayed"),
        (parked, "parked"),
        (dead, "dead"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    (!counts.is_empty()).then(|| format!("{} ({})", subscription.name, counts.join(", ")))
}

impl Rm {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let question = format!("Delete queue {} with all its messages", self.queue);
        self.consent.ask(&question)?;
        let client = common.connect().await?;
        // The command says whether the queue was there; the client's own retry could not, once the
        // connection broke between the deletion and its answer.
        client.admin().queue_show(&self.queue).await?;
        match client.admin().queue_delete(&self.queue).await {
            Ok(()) => {}
            Err(error) => {
                let failure = Failure::from(error);
                if failure.code() != NOT_FOUND {
                    return Err(failure);
                }
            }
        }
        client.close().await;
        let queue = &self.queue;
        tell(
            common,
            &Changed {
                queue,
                change: "deleted",
            },
        )
    }
}

/// Programs get a document, people a remark.
fn tell(common: &Common, changed: &Changed<'_>) -> Result<(), Failure> {
    match common.output {
        Format::Table => {
            chat(&format!("{} {}", changed.queue, changed.change));
            Ok(())
        }
        Format::Json | Format::Jsonl => output::line(&output::item_json(changed)?),
    }
}

impl From<QueueInfo> for QueueRow {
    fn from(info: QueueInfo) -> Self {
        let subscriptions = info.subscriptions.into_iter();
        Self {
            queue: info.name,
            partition: info.partition.0,
            lanes: info.lanes,
            created_ms: info.created.as_millis(),
            start: info.start.0,
            end: info.end.0,
            oldest: None,
            subscriptions: subscriptions.map(SubscriptionRow::from).collect(),
        }
    }
}

impl From<SubscriptionInfo> for SubscriptionRow {
    fn from(info: SubscriptionInfo) -> Self {
        Self {
            subscription: info.name,
            ready: info.ready,
            leased: info.leased,
            delayed: info.delayed,
            done: info.done,
            consumers: info.consumers,
        }
    }
}

impl QueueRow {
    fn sum(&self, of: fn(&SubscriptionRow) -> u64) -> String {
        self.subscriptions.iter().map(of).sum::<u64>().to_string()
    }
}

impl Row for QueueRow {
    const HEADINGS: &'static [&'static str] = &[
        "QUEUE",
        "PARTITION",
        "START",
        "END",
        "READY",
        "LEASED",
        "DELAYED",
        "SUBSCRIPTIONS",
        "CONSUMERS",
        "AGE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.clone(),
            self.partition.to_string(),
            self.start.to_string(),
            self.end.to_string(),
            self.sum(|subscription| subscription.ready),
            self.sum(|subscription| subscription.leased),
            self.sum(|subscription| subscription.delayed),
            self.subscriptions.len().to_string(),
            self.sum(|subscription| u64::from(subscription.consumers)),
            age(self.created_ms),
        ]
    }
}

impl Row for Oldest {
    const HEADINGS: &'static [&'static str] = &["KEPT FROM", "ENQUEUED", "NEEDED BY"];

    fn cells(&self) -> Vec<String> {
        let needed_by = match self.needed_by.as_slice() {
            [] => "the first subscription to come".to_owned(),
            all => all.join(", "),
        };
        vec![
            self.offset.to_string(),
            format!("{} ago", age(self.enqueued_ms)),
            needed_by,
        ]
    }
}

impl Row for SubscriptionRow {
    const HEADINGS: &'static [&'static str] = &[
        "SUBSCRIPTION",
        "READY",
        "LEASED",
        "DELAYED",
        "DONE",
        "CONSUMERS",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.subscription.clone(),
            self.ready.to_string(),
            self.leased.to_string(),
            self.delayed.to_string(),
            self.done.to_string(),
            self.consumers.to_string(),
        ]
    }
}
