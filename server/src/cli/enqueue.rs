//! `corelane enqueue`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use corelane::config::quantity::parse_duration;
use corelane_client::{Class, Message, Receipt};
use corelane_wire::limits::MESSAGE_BYTES_MAX;
use serde::Serialize;

use super::Common;
use super::exit::Failure;
use super::lines::{self, Source};
use super::output::{self, Format};

/// Arguments of `enqueue`.
#[derive(Debug, Args)]
pub(super) struct Enqueue {
    /// The queue; made on first use.
    queue: String,
    /// The body; without it, or with -, each line of stdin becomes a message.
    body: Option<String>,
    /// What the message is about.
    #[arg(long)]
    key: Option<String>,
    /// A named value; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// What the broker waits for before it confirms: stable storage, or nothing.
    #[arg(long, value_enum, default_value = "durable")]
    class: ClassName,
    /// Not to be given out before this much time has passed, such as 90s or 12h; up to 366 days.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// To be given to nobody once this much time has passed from when it may first be given out, such as 30s or 2d; up to
    /// 366 days. Without it the queue says how long a message lives.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
}

/// A class by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClassName {
    Durable,
    Memory,
}

/// Where one message went.
#[derive(Serialize)]
struct Stored<'a> {
    queue: &'a str,
    offset: u64,
    epoch: u64,
    class: &'static str,
    copies: u8,
    duplicate: bool,
    micros: u64,
}

impl Enqueue {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self.body.as_deref() {
            Some(body) if body != "-" => self.one(common, body).await,
            None if std::io::stdin().is_terminal() => Err(Failure::usage(
                "no body\n  give one as an argument, pipe lines in, or say - to type them here",
            )),
            Some(_) | None => {
                let source = Source::stdin(MESSAGE_BYTES_MAX);
                let to_message = |line| Ok(self.message(line));
                let target = lines::Target {
                    queue: &self.queue,
                    class: self.class.into(),
                };
                lines::enqueue(common, target, source, to_message).await
            }
        }
    }

    async fn one(&self, common: &Common, body: &str) -> Result<(), Failure> {
        let client = common.connect().await?;
        let target = lines::Target {
            queue: &self.queue,
            class: self.class.into(),
        };
        let producer = lines::producer(&client, common, target)?;
        let begun = Instant::now();
        let receipt = producer.enqueue(&self.message(body)).await.into_result()?;
        let stored = Stored::new(&self.queue, &receipt, begun.elapsed());
        match common.output {
            Format::Table => output::line(&stored.text())?,
            Format::Json | Format::Jsonl => output::line(&output::item_json(&stored)?)?,
        }
        client.close().await;
        Ok(())
    }

    fn message(&self, body: impl Into<Vec<u8>>) -> Message {
        let mut message = Message::new(body);
        if let Some(key) = &self.key {
            message = message.key(key.as_str());
        }
        for (name, value) in &self.headers {
            message = message.header(name, value.as_str());
        }
        if let Some(delay) = self.delay {
            message = message.delay(delay);
        }
        if let Some(ttl) = self.ttl {
            message = message.ttl(ttl);
        }
        message
    }
}

impl<'a> Stored<'a> {
    fn new(queue: &'a str, receipt: &Receipt, took: Duration) -> Self {
        Self {
            queue,
            offset: receipt.offset.0,
            epoch: receipt.epoch.0,
            class: match receipt.class {
                Class::Durable => "durable",
                Class::Memory => "memory",
            },
            copies: receipt.copies,
            duplicate: receipt.duplicate,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn text(&self) -> String {
        format!(
            "{}@{}  stored ({}, copies {}) in {} us",
            self.queue, self.offset, self.class, self.copies, self.micros
        )
    }
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Self {
        match name {
            ClassName::Durable => Self::Durable,
            ClassName::Memory => Self::Memory,
        }
    }
}

/// `NAME=VALUE` among the arguments.
fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests;
