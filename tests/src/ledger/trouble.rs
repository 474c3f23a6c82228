//! Why a connection of a run ended: the broker is gone, or it did wrong.

use std::io;

use corelane_wire::{Class, ErrorCode};

pub(super) enum Trouble {
    /// The connection broke, or the broker asked to come again later: normal in a run of deaths.
    Broken,
    /// The broker refused what it must take, or answered what was not asked: the run fails.
    Wrong(anyhow::Error),
}

impl Trouble {
    /// A socket that failed is a death; silence, or a frame that cannot be read, is not.
    pub(super) fn of(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            None | Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Self::Wrong(error),
            Some(_) => Self::Broken,
        }
    }

    /// For a broker that nobody kills.
    pub(super) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Broken => anyhow::anyhow!("the broker is gone, or asks to come again"),
            Self::Wrong(error) => error,
        }
    }

    pub(super) fn refused(code: ErrorCode, text: &str) -> Self {
        if code.class() == Some(Class::Retry) {
            Self::Broken
        } else {
            Self::Wrong(anyhow::anyhow!("refused: {code:?}: {text}"))
        }
    }
}
