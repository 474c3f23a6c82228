//! `corelane load`.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use corelane_client::Class;

use super::Common;
use super::exit::Failure;
use super::lines::{Source, Target, enqueue};
use super::shown::{LINE_BYTES_MAX, Shown};

/// Arguments of `load`.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// The queue; made on first use.
    queue: String,
    /// What to read instead of stdin.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Load {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let source = match &self.file {
            Some(path) => {
                let name = path.display().to_string();
                let input = File::open(path)
                    .map_err(|error| Failure::other(format!("cannot read {name}: {error}")))?;
                Source::new(&name, input, LINE_BYTES_MAX)
            }
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::usage(
                    "nothing to load\n  name what `corelane dump` wrote with --file, or pipe it in",
                ));
            }
            None => Source::stdin(LINE_BYTES_MAX),
        };
        let to_message = |line: Vec<u8>| Ok(Shown::read(&line)?.into_message()?);
        let target = Target {
            queue: &self.queue,
            class: Class::Durable,
        };
        enqueue(common, target, source, to_message).await
    }
}
