//! What a crash did that it must not do.

use std::fmt;

/// A state that was not survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Something that was confirmed is gone.
    Lost(String),
    /// Bytes, order or state differ, or something came that was never sent.
    Wrong(String),
    /// The node did not start, or not in time, or did not serve.
    Unrecovered(String),
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(text) => write!(f, "lost: {text}"),
            Self::Wrong(text) => write!(f, "wrong: {text}"),
            Self::Unrecovered(text) => write!(f, "unrecovered: {text}"),
        }
    }
}

/// What a check says.
pub(super) type Verdict<T = ()> = Result<T, Harm>;

pub(super) fn lost<T>(text: impl Into<String>) -> Verdict<T> {
    Err(Harm::Lost(text.into()))
}

pub(super) fn wrong<T>(text: impl Into<String>) -> Verdict<T> {
    Err(Harm::Wrong(text.into()))
}

pub(super) fn unrecovered<T>(text: impl Into<String>) -> Verdict<T> {
    Err(Harm::Unrecovered(text.into()))
}
