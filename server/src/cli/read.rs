//! `corelane read`.

use std::time::Duration;

use clap::Args;
use corelane_client::{Client, Delivery, Reader};
use corelane_wire::limits::CREDIT_MAX;

use super::exit::Failure;
use super::output::{self, Format};
use super::shown::Shown;
use super::{Common, chat, duration};

/// Arguments of `read`.
#[derive(Debug, Args)]
pub(super) struct Read {
    /// The queue.
    queue: String,
    /// The subscription; its contract must be `reader`.
    subscription: String,
    /// Messages to read at most; all that come, unless given.
    #[arg(short = 'n', long = "count", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How long to wait for each message.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    wait: Duration,
    /// Print, but leave the checkpoint where it is.
    #[arg(long)]
    no_checkpoint: bool,
    /// Go on until interrupted.
    #[arg(long, short)]
    follow: bool,
}

/// What was read since the checkpoint was moved last.
struct Unsaved<'a> {
    arguments: &'a Read,
    format: Format,
    text: Vec<u8>,
    last: Option<Delivery>,
    /// The one document is written at the end.
    shown: Vec<Shown>,
}

impl Read {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.follow && common.output == Format::Json {
            return Err(Failure::usage(
                "a stream has no end to be one JSON document\n  use -o jsonl with --follow",
            ));
        }
        let client = common.connect().await?;
        let read = self.read(&client, common.output).await;
        client.close().await;
        read
    }

    async fn read(&self, client: &Client, format: Format) -> Result<(), Failure> {
        let mut reader = client.reader(&self.queue, &self.subscription);
        if self.no_checkpoint || format == Format::Json {
            // All of it is read ahead of the checkpoint.
            reader = reader.credit(CREDIT_MAX);
        }
        let mut reader = reader.subscribe().await?;
        let mut unsaved = Unsaved {
            arguments: self,
            format,
            text: Vec::new(),
            last: None,
            shown: Vec::new(),
        };
        let read = self.print(&mut reader, &mut unsaved).await;
        let saved = unsaved.finish(&reader).await;
        let closed = reader.close().await.map_err(Failure::from);
        read.and(saved).and(closed)
    }

    async fn print(&self, reader: &mut Reader, unsaved: &mut Unsaved<'_>) -> Result<(), Failure> {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let wait = if self.follow { FOREVER } else { self.wait };
        let mut count = 0;
        while count < self.count.unwrap_or(u64::MAX) {
            let next = if let Some(next) = super::dequeue::at_once(reader.next()).await {
                next
            } else {
                unsaved.leave(reader).await?;
                tokio::select! {
                    next = tokio::time::timeout(wait, reader.next()) => {
                        let Ok(next) = next else { break };
                        next
                    }
                    _ = &mut interrupted => return Ok(()),
                }
            };
            let Some(delivery) = next.transpose()? else {
                return Ok(());
            };
            count += 1;
            unsaved.add(delivery)?;
            if unsaved.text.len() >= TEXT_BYTES_MAX {
                unsaved.leave(reader).await?;
            }
        }
        if count == 0 {
            chat(&format!("no message within {:?}", self.wait));
        }
        Ok(())
    }
}

impl Unsaved<'_> {
    fn add(&mut self, delivery: Delivery) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text.extend_from_slice(delivery.body()),
            Format::Jsonl => {
                let item = output::item_json(&Shown::of_delivery(&delivery))?;
                self.text.extend_from_slice(item.as_bytes());
            }
            Format::Json => self.shown.push(Shown::of_delivery(&delivery)),
        }
        if self.format != Format::Json {
            self.text.push(b'\n');
        }
        self.last = Some(delivery);
        Ok(())
    }

    /// Hands what was read over to stdout, then moves the checkpoint behind it.
    async fn leave(&mut self, reader: &Reader) -> Result<(), Failure> {
        if self.format == Format::Json {
            return Ok(());
        }
        output::bytes(&[&self.text])?;
        self.text.clear();
        self.save(reader).await
    }

    async fn finish(&mut self, reader: &Reader) -> Result<(), Failure> {
        if self.format != Format::Json {
            return self.leave(reader).await;
        }
        output::list(Format::Json, &self.shown)?;
        self.save(reader).await
    }

    async fn save(&mut self, reader: &Reader) -> Result<(), Failure> {
        if let Some(last) = self.last.take()
            && !self.arguments.no_checkpoint
        {
            reader.checkpoint(&last).await?;
        }
        Ok(())
    }
}

/// Text that leaves at once.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longer than any command runs.
const FOREVER: Duration = Duration::from_hours(24 * 366);
