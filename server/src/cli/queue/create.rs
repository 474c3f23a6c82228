//! `corelane queue create`.

use clap::Args;
use corelane_client::{QueueConfig, Storage};

use super::config::Terms;
use super::{Changed, Common, Failure, tell};

/// Arguments of `queue create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// The queue.
    queue: String,
    /// Keep messages in memory only: they are gone when the broker ends.
    #[arg(long)]
    memory_only: bool,
    #[command(flatten)]
    terms: Terms,
}

impl Create {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let config = self.config();
        let created = if config == QueueConfig::PLAIN {
            // A queue that exists may have any configuration.
            admin.queue_create(&self.queue).await?
        } else {
            admin.queue_configure(&self.queue, config).await?
        };
        client.close().await;
        let queue = &self.queue;
        let change = if created { "created" } else { "exists" };
        tell(common, &Changed { queue, change })
    }

    fn config(&self) -> QueueConfig {
        let storage = if self.memory_only {
            Storage::Memory
        } else {
            Storage::Durable
        };
        self.terms.over(QueueConfig {
            storage,
            ..QueueConfig::PLAIN
        })
    }
}
