//! `corelane dead forward`.

use clap::Args;
use corelane_client::DeadLetters;
use serde::Serialize;

use super::Of;
use crate::cli::Common;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Format};

/// Arguments of `dead forward`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Forward {
    #[command(flatten)]
    of: Of,
    /// The dead-letter queue, made on first use; without it the one that is set is shown.
    #[arg(long, value_name = "QUEUE", conflicts_with = "off")]
    to: Option<String>,
    /// Let dead messages stay where they are.
    #[arg(long)]
    off: bool,
}

/// Where dead messages go.
#[derive(Serialize)]
struct Shown<'a> {
    queue: &'a str,
    subscription: &'a str,
    dead_letters_to: Option<&'a str>,
}

impl Forward {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let subscription = admin.subscription(&self.of.queue, &self.of.subscription);
        let change = match &self.to {
            Some(queue) => Some(DeadLetters::To(queue)),
            None => self.off.then_some(DeadLetters::Stay),
        };
        let to = match change {
            Some(change) => subscription.forward_dead(change).await?,
            None => subscription.dead_letters().await?,
        };
        client.close().await;
        let shown = Shown {
            queue: &self.of.queue,
            subscription: &self.of.subscription,
            dead_letters_to: to.as_deref(),
        };
        match common.output {
            Format::Json | Format::Jsonl => output::line(&output::item_json(&shown)?),
            Format::Table => output::line(&shown.text()),
        }
    }
}

impl Shown<'_> {
    fn text(&self) -> String {
        let of = format!("{}/{}", self.queue, self.subscription);
        self.dead_letters_to.map_or_else(
            || format!("dead messages of {of} stay where they are"),
            |to| format!("dead messages of {of} go to {to}"),
        )
    }
}
