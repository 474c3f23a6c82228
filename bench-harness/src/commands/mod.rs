//! The subcommands: flags in, text or JSON out.

#[cfg(feature = "peers")]
pub(crate) mod compare;
pub(crate) mod floor_ratio;
pub(crate) mod probe;
pub(crate) mod responder;
pub(crate) mod run;

use clap::ValueEnum;
use corelane_bench::load::Pacing;

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// How a generator waits.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Waiting {
    Sleep,
    Hybrid,
    Spin,
}

impl Waiting {
    const fn pacing(self) -> Pacing {
        match self {
            Self::Sleep => Pacing::Sleep,
            Self::Hybrid => Pacing::Hybrid,
            Self::Spin => Pacing::Spin,
        }
    }
}
