//! `corelane queue create`.

use clap::Args;
use corelane_client::{QueueConfig, Storage};

use super::{Changed, Common, Failure, tell};

/// Arguments of `queue create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// The queue.
    queue: String,
    #[command(flatten)]
    config: Config,
}

/// What a queue keeps, and how.
#[derive(Debug, Args)]
struct Config {
    /// Keep messages in memory only: they are gone when the broker ends.
    #[arg(long)]
    memory_only: bool,
}

impl Create {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let config = self.config.config();
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
}

impl Config {
    const fn config(&self) -> QueueConfig {
        QueueConfig {
            storage: if self.memory_only {
                Storage::Memory
            } else {
                Storage::Durable
            },
            ..QueueConfig::PLAIN
        }
    }
}
