//! What can happen to a leased message, and how it is asked for.

use std::sync::Arc;

use corelane_wire::limits::REASON_BYTES_MAX;
use corelane_wire::{Extend, Fate, Nack, Reject, Request, Settle};

/// What happens to a leased message; those with equal actions travel together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SettleAction {
    /// Its lease lasts from now on for so long.
    Extend {
        /// Length of the lease.
        lease_ms: u32,
    },
    /// It is done.
    Ack,
    /// It goes back.
    Nack {
        /// For how long nobody gets it.
        delay_ms: u64,
        /// Whether the attempt counts.
        count_attempt: bool,
    },
    /// Its attempt failed.
    Reject {
        /// What becomes of it.
        fate: Fate,
        /// Why; see [`SettleAction::reject`].
        text: Arc<str>,
    },
}

impl SettleAction {
    /// Back at once, as if it had never been delivered.
    pub const GIVE_BACK: Self = Self::Nack {
        delay_ms: 0,
        count_attempt: false,
    };
    /// Back after a second, for a message that cannot be read.
    pub const SET_ASIDE: Self = Self::Nack {
        delay_ms: 1_000,
        count_attempt: true,
    };

    /// The attempt failed; of the text the first 256 bytes are kept, or less where they end inside a letter.
    pub fn reject(fate: Fate, text: &str) -> Self {
        let text = text[..text.floor_char_boundary(REASON_BYTES_MAX)].into();
        Self::Reject { fate, text }
    }

    /// Whether the message is not held any more; only an extend keeps it.
    pub const fn ends_holding(&self) -> bool {
        match self {
            Self::Extend { .. } => false,
            Self::Ack | Self::Nack { .. } | Self::Reject { .. } => true,
        }
    }

    /// The request that asks for it.
    pub(super) fn request<'a>(&'a self, settle: Settle<'a>) -> Request<'a> {
        match self {
            Self::Ack => Request::Ack(settle),
            Self::Nack {
                delay_ms,
                count_attempt,
            } => Request::Nack(Nack {
                settle,
                delay_ms: *delay_ms,
                count_attempt: *count_attempt,
            }),
            Self::Extend { lease_ms } => Request::Extend(Extend {
                settle,
                lease_ms: *lease_ms,
            }),
            Self::Reject { fate, text } => Request::Reject(Reject {
                settle,
                fate: *fate,
                text,
            }),
        }
    }
}
