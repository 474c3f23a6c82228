//! Why a connection of a run ended: the broker is gone, or it did wrong.

use std::fmt::Display;

use corelane_wire::{Class, ErrorCode};

pub(super) enum Trouble {
    /// The connection broke, or the broker asked to come again later: normal in a run of deaths.
    Broken,
    /// The broker refused what it must take, or answered what was not asked: the run fails.
    Wrong(anyhow::Error),
}

impl Trouble {
    pub(super) fn broken(_: impl Display) -> Self {
        Self::Broken
    }

    pub(super) fn refused(code: ErrorCode, text: &str) -> Self {
        if code.class() == Some(Class::Retry) {
            Self::Broken
        } else {
            Self::Wrong(anyhow::anyhow!("refused: {code:?}: {text}"))
        }
    }
}
