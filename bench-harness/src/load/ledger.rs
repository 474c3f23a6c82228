//! What became of every message.
//!
//! One byte per message. Each generator keeps a ledger of its own, for what its producers sent and for what its
//! consumers got; they are put together when the run is over, and judged then.

use std::ops::{BitOr, BitOrAssign};

use serde::Serialize;

/// What is known of a message; several may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(u8);

impl Mark {
    /// It was encoded, to be sent.
    pub const SENT: Self = Self(1);
    /// Its receipt came.
    pub const CONFIRMED: Self = Self(2);
    /// Its batch was refused.
    pub const REFUSED: Self = Self(4);
    /// A consumer got it.
    pub const DELIVERED: Self = Self(8);

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Mark {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Mark {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The messages of a run, or what one thread saw of them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    producers: Vec<Vec<Mark>>,
    duplicates: u64,
    phantoms: u64,
}

/// The sums of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Messages that were sent.
    pub sent: u64,
    /// Those with a receipt.
    pub confirmed: u64,
    /// Those that the broker refused.
    pub refused: u64,
    /// Those without an answer when the run ended.
    pub unknown: u64,
    /// Different messages that consumers got.
    pub delivered: u64,
    /// Confirmed, but not delivered although there were consumers.
    pub lost: u64,
    /// Deliveries of messages that had been delivered before.
    pub duplicates: u64,
    /// Delivered before what was enqueued earlier in the same lane, on a first attempt.
    pub reordered: u64,
    /// Delivered with other bytes than were sent.
    pub corrupt: u64,
    /// Delivered although never sent, or although refused.
    pub phantoms: u64,
}

impl Account {
    /// Whether everything is as a broker promises.
    pub const fn is_intact(&self) -> bool {
        self.lost == 0
            && self.duplicates == 0
            && self.reordered == 0
            && self.corrupt == 0
            && self.phantoms == 0
    }
}

impl Ledger {
    /// A ledger for that many producers.
    pub fn new(producers: u32) -> Self {
        Self {
            producers: vec![Vec::new(); producers as usize],
            ..Self::default()
        }
    }

    /// Adds a mark to `count` messages of a producer from `first` on.
    pub fn mark(&mut self, producer: u32, first: u64, count: u32, mark: Mark) {
        for sequence in first..first + u64::from(count) {
            if let Some(entry) = self.entry(producer, sequence) {
                *entry |= mark;
            }
        }
    }

    /// Notes a delivery; false if this thread had got the message before, or it cannot exist.
    pub fn deliver(&mut self, producer: u32, sequence: u64) -> bool {
        let Some(entry) = self.entry(producer, sequence) else {
            self.phantoms += 1;
            return false;
        };
        let is_first = !entry.has(Mark::DELIVERED);
        *entry |= Mark::DELIVERED;
        self.duplicates += u64::from(!is_first);
        is_first
    }

    /// Takes over what another thread saw.
    pub fn add(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.phantoms += other.phantoms;
        for (own, theirs) in self.producers.iter_mut().zip(other.producers) {
            if own.len() < theirs.len() {
                own.resize(theirs.len(), Mark::default());
            }
            for (entry, mark) in own.iter_mut().zip(theirs) {
                let is_again = entry.has(Mark::DELIVERED) && mark.has(Mark::DELIVERED);
                self.duplicates += u64::from(is_again);
                *entry |= mark;
            }
        }
    }

    /// The sums; without consumers nothing can be lost.
    pub fn account(&self, with_consumers: bool) -> Account {
        let mut account = Account {
            duplicates: self.duplicates,
            phantoms: self.phantoms,
            ..Account::default()
        };
        for mark in self.producers.iter().flatten() {
            let is_delivered = mark.has(Mark::DELIVERED);
            let is_confirmed = mark.has(Mark::CONFIRMED);
            let is_refused = mark.has(Mark::REFUSED);
            let is_sent = mark.has(Mark::SENT);
            account.sent += u64::from(is_sent);
            account.confirmed += u64::from(is_confirmed);
            account.refused += u64::from(is_refused);
            account.unknown += u64::from(is_sent && !is_confirmed && !is_refused);
            account.delivered += u64::from(is_delivered);
            account.lost += u64::from(with_consumers && is_confirmed && !is_delivered);
            account.phantoms += u64::from(is_delivered && (is_refused || !is_sent));
        }
        account
    }

    fn entry(&mut self, producer: u32, sequence: u64) -> Option<&mut Mark> {
        let marks = self.producers.get_mut(producer as usize)?;
        let index = usize::try_from(sequence).ok()?;
        if index >= MESSAGES_MAX {
            return None;
        }
        if index >= marks.len() {
            marks.resize(index + 1, Mark::default());
        }
        marks.get_mut(index)
    }
}

/// Of one producer: 10 minutes at 6 million messages a second.
const MESSAGES_MAX: usize = 1 << 32;
