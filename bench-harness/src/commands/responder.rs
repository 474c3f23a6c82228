//! `responder`: a server that does nothing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use corelane_bench::responder::{Mistake, Responder, ResponderOptions};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where it listens; port 0 lets the system pick.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The core that it runs on.
    #[arg(long)]
    core: Option<usize>,
    /// A mistake to make, once: to see that `run` finds it.
    #[arg(long, value_enum)]
    mistake: Option<Planted>,
    /// The message that it happens to, counted from 0.
    #[arg(long, default_value_t = 100)]
    at: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Planted {
    /// Confirm it and never deliver it.
    Lose,
    /// Deliver it twice.
    Duplicate,
    /// Deliver it behind the next one.
    Reorder,
    /// Change a byte of it.
    Corrupt,
    /// Change a byte of it, and make its checksum right.
    Forge,
    /// Refuse it, and deliver it.
    Refuse,
    /// Stand still for a second.
    Pause,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = ResponderOptions {
        core: arguments.core,
        mistake: arguments
            .mistake
            .map(|planted| (planted.mistake(), arguments.at)),
    };
    let responder = Responder::on(arguments.listen, options)?;
    println!("corelane-bench responder on {}", responder.address());
    responder.wait()?;
    Ok(ExitCode::SUCCESS)
}

impl Planted {
    const fn mistake(self) -> Mistake {
        match self {
            Self::Lose => Mistake::Lose,
            Self::Duplicate => Mistake::Duplicate,
            Self::Reorder => Mistake::Reorder,
            Self::Corrupt => Mistake::Corrupt,
            Self::Forge => Mistake::Forge,
            Self::Refuse => Mistake::Refuse,
            Self::Pause => Mistake::Pause(Duration::from_secs(1)),
        }
    }
}
