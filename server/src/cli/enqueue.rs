//! `corelane enqueue`.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::time::{Duration, Instant};

use clap::Args;
use corelane_client::{Client, Message, Outcome, Pending, Producer, Receipt};
use corelane_wire::limits::MESSAGE_BYTES_MAX;
use serde::Serialize;
use tokio::sync::mpsc;

use super::exit::Failure;
use super::output::{self, Format, Row};
use super::{Common, chat};

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

/// Where the lines of stdin went.
#[derive(Serialize)]
struct Summary<'a> {
    queue: &'a str,
    confirmed: u64,
    failed: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
    millis: u64,
}

impl Enqueue {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self.body.as_deref() {
            Some(body) if body != "-" => self.one(common, body).await,
            None if std::io::stdin().is_terminal() => Err(Failure::usage(
                "no body\n  give one as an argument, pipe lines in, or say - to type them here",
            )),
            Some(_) | None => self.lines(common).await,
        }
    }

    async fn one(&self, common: &Common, body: &str) -> Result<(), Failure> {
        let client = common.connect().await?;
        let producer = self.producer(&client, common)?;
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

    async fn lines(&self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let producer = self.producer(&client, common)?;
        let begun = Instant::now();
        let (pending, settled) = mpsc::channel(PENDING_MAX);
        let collector = tokio::spawn(collect(settled));
        let fed = self.feed(&producer, pending).await;
        let _tally = producer.close().await;
        let collected = collector
            .await
            .map_err(|error| Failure::other(format!("a receipt was lost: {error}")))?;
        client.close().await;
        self.summary(&collected, begun.elapsed())
            .show(common.output)?;
        if let Some((line, failure)) = collected.first_failure {
            return Err(failure.at(&format!("line {line}")));
        }
        fed
    }

    /// Sends lines until stdin ends or a message fails.
    async fn feed(
        &self,
        producer: &Producer,
        pending: mpsc::Sender<Pending>,
    ) -> Result<(), Failure> {
        let mut lines = read_lines()?;
        let mut progress = Progress::new();
        let mut count = 0_u64;
        while let Some(chunk) = lines.recv().await {
            for line in chunk? {
                count += 1;
                let sent = producer.send(&self.message(line)).await;
                let sent =
                    sent.map_err(|error| Failure::from(error).at(&format!("line {count}")))?;
                if pending.send(sent).await.is_err() {
                    // The collector met a failure and has its text.
                    return Ok(());
                }
            }
            progress.show(count);
        }
        Ok(())
    }

    fn producer(&self, client: &Client, common: &Common) -> Result<Producer, Failure> {
        let builder = client.producer(&self.queue).give_up_after(common.timeout);
        Ok(builder.build()?)
    }

    fn message(&self, body: impl Into<Vec<u8>>) -> Message {
        let mut message = Message::new(body);
        if let Some(key) = &self.key {
            message = message.key(key.as_str());
        }
        for (name, value) in &self.headers {
            message = message.header(name, value.as_str());
        }
        message
    }

    fn summary(&self, collected: &Collected, took: Duration) -> Summary<'_> {
        Summary {
            queue: &self.queue,
            confirmed: collected.confirmed,
            failed: collected.failed,
            first_offset: collected.first_offset,
            last_offset: collected.last_offset,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What became of the lines.
#[derive(Default)]
struct Collected {
    confirmed: u64,
    failed: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
    first_failure: Option<(u64, Failure)>,
}

/// Awaits receipts in the order of the lines; after the first failure it takes no more lines, but
/// counts those that are on their way.
async fn collect(mut pending: mpsc::Receiver<Pending>) -> Collected {
    let mut collected = Collected::default();
    let mut line = 0;
    while let Some(next) = pending.recv().await {
        line += 1;
        collected.count(line, next.await);
        if collected.first_failure.is_some() {
            pending.close();
        }
    }
    collected
}

impl Collected {
    fn count(&mut self, line: u64, outcome: Outcome) {
        match outcome.into_result() {
            Ok(receipt) => {
                self.confirmed += 1;
                self.first_offset.get_or_insert(receipt.offset.0);
                self.last_offset = Some(receipt.offset.0);
            }
            Err(error) => {
                self.failed += 1;
                self.first_failure
                    .get_or_insert_with(|| (line, error.into()));
            }
        }
    }
}

impl<'a> Stored<'a> {
    fn new(queue: &'a str, receipt: &Receipt, took: Duration) -> Self {
        Self {
            queue,
            offset: receipt.offset.0,
            epoch: receipt.epoch.0,
            class: match receipt.class {
                corelane_client::Class::Durable => "durable",
                corelane_client::Class::Memory => "memory",
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

impl Row for Summary<'_> {
    const HEADINGS: &'static [&'static str] =
        &["QUEUE", "CONFIRMED", "FAILED", "FIRST", "LAST", "MILLIS"];

    fn cells(&self) -> Vec<String> {
        let offset =
            |offset: Option<u64>| offset.map_or_else(|| "-".to_owned(), |it| it.to_string());
        vec![
            self.queue.to_owned(),
            self.confirmed.to_string(),
            self.failed.to_string(),
            offset(self.first_offset),
            offset(self.last_offset),
            self.millis.to_string(),
        ]
    }
}

impl Summary<'_> {
    fn show(&self, format: Format) -> Result<(), Failure> {
        output::one(format, self)
    }
}

/// Some lines, or why there are no more.
type Chunk = Result<Vec<Vec<u8>>, Failure>;

/// Lines from stdin, in chunks, read on a thread of their own: a read may block for ever.
fn read_lines() -> Result<mpsc::Receiver<Chunk>, Failure> {
    let (chunks, lines) = mpsc::channel(CHUNKS_MAX);
    let read = move || {
        let mut stdin = BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
        loop {
            let chunk = read_chunk(&mut stdin);
            let is_end = !matches!(&chunk, Ok(lines) if !lines.is_empty());
            let is_empty = matches!(&chunk, Ok(lines) if lines.is_empty());
            if (!is_empty && chunks.blocking_send(chunk).is_err()) || is_end {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|error| Failure::other(format!("cannot read stdin: {error}")))?;
    Ok(lines)
}

/// Some lines without their line ends; none at the end of the input. Returns what there is rather
/// than wait for more, so that lines typed or trickling in leave at once.
fn read_chunk(input: &mut BufReader<impl Read>) -> Chunk {
    let mut lines = Vec::new();
    while lines.len() < CHUNK_LINES_MAX {
        if !lines.is_empty() && !input.buffer().contains(&b'\n') {
            break;
        }
        let mut line = Vec::new();
        let limit = MESSAGE_BYTES_MAX as u64 + 1;
        let read = input.by_ref().take(limit).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(Failure::other(format!("cannot read stdin: {error}"))),
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Counts on stderr, at most ten times a second.
struct Progress {
    begun: Instant,
    shown: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            shown: now,
        }
    }

    fn show(&mut self, count: u64) {
        if self.shown.elapsed() >= Duration::from_millis(500) {
            self.shown = Instant::now();
            let seconds = self.begun.elapsed().as_secs();
            chat(&format!("{count} lines sent, {seconds} s"));
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

/// Lines in one chunk.
const CHUNK_LINES_MAX: usize = 1_024;
/// Chunks read ahead.
const CHUNKS_MAX: usize = 4;
/// Receipts awaited at once; the producer allows fewer messages in flight.
const PENDING_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
