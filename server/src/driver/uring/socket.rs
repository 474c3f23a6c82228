//! One connected socket: what the shard asked of it and what the ring was told.
//!
//! Invariants:
//! (S1) at most one receive and one send of a socket are in the ring;
//! (S2) sends leave in the order of their submission: only the first one is in the ring;
//! (S3) the descriptor is closed only when nothing of the socket is in the ring, because an armed
//! receive keeps a closed socket alive: its peer would see no end.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::key::next_round;
use crate::driver::Token;

/// A connected, blocking socket.
pub(super) struct Connected {
    pub(super) fd: OwnedFd,
    pub(super) recv: Option<Receiving>,
    /// Whether the socket stands in the driver's list of those that found no buffer, whatever
    /// became of that receive, so that it stands there once at most.
    pub(super) is_starved: bool,
    /// The first one is in the ring.
    pub(super) sends: VecDeque<Sending>,
    /// `Close` was asked for; no new operation is taken.
    pub(super) closing: Option<Token>,
    round: u32,
}

/// An armed receive.
pub(super) struct Receiving {
    pub(super) token: Token,
    /// Its round, while it is in the ring.
    pub(super) armed: Option<u32>,
    pub(super) is_cancelled: bool,
}

impl Receiving {
    /// Whether it goes on by itself.
    pub(super) const fn is_live(&self) -> bool {
        self.armed.is_some() && !self.is_cancelled
    }
}

/// A send that has not ended.
pub(super) struct Sending {
    pub(super) token: Token,
    pub(super) buffer: Vec<u8>,
    pub(super) sent: usize,
    /// Its round, while it is in the ring.
    pub(super) armed: Option<u32>,
    pub(super) is_cancelled: bool,
}

impl Connected {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            recv: None,
            is_starved: false,
            sends: VecDeque::new(),
            closing: None,
            round: 0,
        }
    }

    /// A number for what is put into the ring next.
    pub(super) const fn next_round(&mut self) -> u32 {
        self.round = next_round(self.round);
        self.round
    }

    /// The round that was begun last.
    #[cfg(test)]
    pub(super) const fn round_now(&self) -> u32 {
        self.round
    }

    /// Whether nothing asked for is unfinished.
    pub(super) fn is_idle(&self) -> bool {
        self.recv.is_none() && self.sends.is_empty()
    }
}
