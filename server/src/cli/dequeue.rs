//! `corelane dequeue`.

use std::time::Duration;

use clap::Args;
use corelane_client::{Acked, Client, Delivery, DequeueOptions, Error, Settling};
use corelane_wire::limits::DEQUEUE_MESSAGES_MAX;

use super::exit::Failure;
use super::output::{self, Format};
use super::shown::Shown;
use super::{Common, chat, duration, note};

/// Arguments of `dequeue`.
#[derive(Debug, Args)]
pub(super) struct Dequeue {
    /// The queue.
    queue: String,
    /// Messages to take at most; with --follow all that come, unless given.
    #[arg(short = 'n', long = "count", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Whose messages; made on first use.
    #[arg(long, value_name = "NAME", default_value = "default")]
    subscription: String,
    /// How long a message is reserved for us; it must be printed within that.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    lease: Duration,
    /// How long to wait for each message.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    ending: Ending,
    /// Go on until interrupted.
    #[arg(long, short)]
    follow: bool,
}

/// What becomes of a message that was printed; unless given it is acknowledged.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Ending {
    /// Print, then give the messages back without counting the attempt.
    #[arg(long, conflicts_with = "follow")]
    no_ack: bool,
    /// Print, then say that the attempts failed, and why: they come again, or are dead.
    #[arg(long, value_name = "TEXT", conflicts_with = "follow")]
    fail: Option<String>,
    /// Print, then make the messages dead, and say why.
    #[arg(long, value_name = "TEXT")]
    kill: Option<String>,
    /// Print, then set the messages aside, and say why.
    #[arg(long, value_name = "TEXT")]
    park: Option<String>,
}

impl Dequeue {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.follow && common.output == Format::Json {
            return Err(Failure::usage(
                "a stream has no end to be one JSON document\n  use -o jsonl with --follow",
            ));
        }
        let client = common.connect().await?;
        let mut printer = Printer::new(&self, common.output);
        let taken = if self.follow {
            self.follow(&client, &mut printer).await
        } else {
            self.take(&client, &mut printer).await
        };
        // What was printed is settled even if something failed after it.
        let settled = printer.finish().await;
        client.close().await;
        taken.and(settled)
    }

    async fn take(&self, client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let wanted = self.count.unwrap_or(1);
        while printer.count < wanted {
            let left = u32::try_from(wanted - printer.count).unwrap_or(u32::MAX);
            let options = DequeueOptions {
                subscription: &self.subscription,
                count: left.min(CHUNK_MAX.min(DEQUEUE_MESSAGES_MAX)),
                lease: self.lease,
                wait: self.wait,
            };
            let deliveries = client.dequeue_with(&self.queue, options).await?;
            if deliveries.is_empty() {
                if printer.count == 0 {
                    chat(&format!("no message within {:?}", self.wait));
                }
                return Ok(());
            }
            for delivery in deliveries {
                printer.print(delivery)?;
            }
            printer.leave().await?;
        }
        Ok(())
    }

    async fn follow(&self, client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let wanted = self.count.unwrap_or(u64::MAX);
        let credit = u32::try_from(wanted).unwrap_or(CHUNK_MAX).min(CHUNK_MAX);
        let mut consumer = client
            .consumer(&self.queue)
            .subscription(&self.subscription)
            .lease(self.lease)
            .credit(credit)
            .subscribe()
            .await?;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut result = Ok(());
        while printer.count < wanted && result.is_ok() {
            // What has come already is printed in one go; it leaves before we wait for more.
            let next = if let Some(next) = at_once(consumer.next()).await {
                next
            } else {
                printer.leave().await?;
                tokio::select! {
                    next = consumer.next() => next,
                    _ = &mut interrupted => break,
                }
            };
            let Some(next) = next else { break };
            result = match next {
                Ok(delivery) => printer.print(delivery),
                Err(error) => Err(error.into()),
            };
            if printer.is_full() {
                printer.leave().await?;
            }
        }
        result.and(consumer.close().await.map_err(Failure::from))
    }
}

impl Ending {
    /// Whether the message may be the next to come.
    const fn comes_again(&self) -> bool {
        self.no_ack || self.fail.is_some()
    }

    fn settle(&self, delivery: Delivery) -> Settling {
        match (&self.fail, &self.kill, &self.park) {
            (Some(text), _, _) => delivery.fail(text),
            (_, Some(text), _) => delivery.kill(text),
            (_, _, Some(text)) => delivery.park(text),
            (None, None, None) if self.no_ack => delivery.give_back(),
            (None, None, None) => delivery.ack(),
        }
    }
}

/// What a future has ready, after everything else on the runtime had its turn.
pub(super) async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        ready = future => Some(ready),
        () = tokio::task::yield_now() => None,
    }
}

/// Prints messages, and settles each once its bytes have left.
struct Printer<'a> {
    format: Format,
    ending: &'a Ending,
    queue: &'a str,
    count: u64,
    /// Text that has not left yet, and the messages in it.
    text: Vec<u8>,
    printed: Vec<Delivery>,
    /// Left, but settled only at the end: given back at once, they would be the next to come.
    kept: Vec<Delivery>,
    settling: Vec<(u64, Settling)>,
    /// Messages whose lease ended before their settling arrived.
    stale: u64,
}

impl<'a> Printer<'a> {
    const fn new(arguments: &'a Dequeue, format: Format) -> Self {
        Self {
            format,
            ending: &arguments.ending,
            queue: arguments.queue.as_str(),
            count: 0,
            text: Vec::new(),
            printed: Vec::new(),
            kept: Vec::new(),
            settling: Vec::new(),
            stale: 0,
        }
    }

    /// Adds a message to what will leave.
    fn print(&mut self, delivery: Delivery) -> Result<(), Failure> {
        self.count += 1;
        match self.format {
            Format::Table => self.text.extend_from_slice(delivery.body()),
            Format::Jsonl => {
                let item = output::item_json(&Shown::of_delivery(&delivery))?;
                self.text.extend_from_slice(item.as_bytes());
            }
            // The one document is written at the end.
            Format::Json => {}
        }
        if self.format != Format::Json {
            self.text.push(b'\n');
        }
        self.printed.push(delivery);
        Ok(())
    }

    /// Whether so much is waiting that it should leave.
    fn is_full(&self) -> bool {
        self.text.len() >= TEXT_BYTES_MAX || self.printed.len() >= CHUNK_MAX as usize
    }

    /// Hands what was printed over to stdout, then acknowledges it.
    async fn leave(&mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            return Ok(());
        }
        output::bytes(&[&self.text])?;
        self.text.clear();
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        if self.ending.comes_again() {
            self.kept.append(&mut self.printed);
            return Ok(());
        }
        let printed = self.printed.drain(..);
        self.settling
            .extend(printed.map(|delivery| (delivery.offset().0, self.ending.settle(delivery))));
        if self.settling.len() >= SETTLING_MAX {
            self.await_settling().await?;
        }
        Ok(())
    }

    async fn await_settling(&mut self) -> Result<(), Failure> {
        for (offset, settling) in self.settling.drain(..) {
            match settling.await {
                Ok(Acked::Done | Acked::AlreadyDone) => {}
                Err(Error::StaleLease { .. }) => {
                    self.stale += 1;
                    note(&format!(
                        "corelane: message {offset} of {} will come again: its lease ended before \
                         the acknowledgement",
                        self.queue
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes what was kept and settles the rest.
    async fn finish(&mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            let shown: Vec<_> = self.printed.iter().map(Shown::of_delivery).collect();
            output::list(Format::Json, &shown)?;
            self.settle().await?;
        } else {
            self.leave().await?;
        }
        let kept = self.kept.drain(..);
        self.settling
            .extend(kept.map(|delivery| (delivery.offset().0, self.ending.settle(delivery))));
        self.await_settling().await?;
        if self.stale > 0 {
            return Err(Failure::other(format!(
                "{} messages were printed but could not be acknowledged in time\n  take fewer at \
                 once (-n), or reserve them longer (--lease)",
                self.stale
            )));
        }
        Ok(())
    }
}

/// Messages taken at once.
const CHUNK_MAX: u32 = 1_000;
/// Text that leaves at once.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Acknowledgements awaited together.
const SETTLING_MAX: usize = 1_000;
