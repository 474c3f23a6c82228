//! `corelane dump`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use corelane_client::{Admin, Error, ErrorCode, QueueInfo};
use serde::Serialize;

use super::exit::Failure;
use super::output::{self, Format, Row};
use super::peek::Pages;
use super::{Common, chat};

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub(super) struct Dump {
    /// The queue.
    queue: String,
    /// Where to write, instead of stdout, which then gets a summary; must not exist.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Offset to begin with.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
}

/// What was written.
#[derive(Serialize)]
struct Summary<'a> {
    queue: &'a str,
    messages: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
}

/// Where the lines go.
enum Target<'a> {
    Stdout,
    File(&'a Path, File),
}

impl Dump {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.file.is_none() && common.output == Format::Json {
            return Err(Failure::usage(
                "a dump is lines, not one JSON document\n  use -o jsonl, or --file for the lines",
            ));
        }
        let client = common.connect().await?;
        let admin = client.admin();
        let end = end_of(admin.queue_show(&self.queue).await)?;
        let mut target = Target::new(self.file.as_deref())?;
        let mut summary = Summary {
            queue: &self.queue,
            messages: 0,
            first_offset: None,
            last_offset: None,
        };
        let dumped = self.write(&admin, end, &mut target, &mut summary).await;
        client.close().await;
        let finished = target.finish();
        match target {
            Target::File(..) => output::one(common.output, &summary)?,
            Target::Stdout => chat(&format!("{} messages", summary.messages)),
        }
        dumped.and(finished)
    }

    /// Writes the messages below `end`, page by page.
    async fn write(
        &self,
        admin: &Admin,
        end: u64,
        target: &mut Target<'_>,
        summary: &mut Summary<'_>,
    ) -> Result<(), Failure> {
        let mut pages = Pages::new(admin, &self.queue, self.from);
        loop {
            let mut page = pages.next(u64::MAX).await?;
            page.retain(|message| message.offset() < end);
            let (Some(first), Some(last)) = (page.first(), page.last()) else {
                return Ok(());
            };
            let mut text = String::new();
            for message in &page {
                text += &output::item_json(message)?;
                text.push('\n');
            }
            target.write(text.as_bytes())?;
            summary.messages += page.len() as u64;
            summary.first_offset.get_or_insert_with(|| first.offset());
            summary.last_offset = Some(last.offset());
            if last.offset() + 1 >= end {
                return Ok(());
            }
        }
    }
}

/// Where a dump ends: at what the queue has when it begins, lest it never end beside producers.
fn end_of(shown: Result<QueueInfo, Error>) -> Result<u64, Failure> {
    match shown {
        Ok(queue) => Ok(queue.end.0),
        // It still shows its messages, and nothing is added to them.
        Err(error) if error.code() == Some(ErrorCode::Poisoned) => Ok(u64::MAX),
        Err(error) => Err(error.into()),
    }
}

impl<'a> Target<'a> {
    fn new(path: Option<&'a Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        let file = File::create_new(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self::File(path, file))
    }

    fn write(&mut self, text: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => output::bytes(&[text]),
            Self::File(path, file) => file
                .write_all(text)
                .map_err(|error| cannot_write(path, &error)),
        }
    }

    /// A file is on its disk when the dump says so.
    fn finish(&self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path, file) => file.sync_all().map_err(|error| cannot_write(path, &error)),
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("cannot write {}: {error}", path.display()))
}

impl Row for Summary<'_> {
    const HEADINGS: &'static [&'static str] = &["QUEUE", "MESSAGES", "FIRST", "LAST"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.to_owned(),
            self.messages.to_string(),
            output::number(self.first_offset),
            output::number(self.last_offset),
        ]
    }
}

#[cfg(test)]
mod tests;
