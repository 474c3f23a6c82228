//! The book: what was sent, confirmed, delivered and acked, by message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a message body, unless the run asks for others.
const BODY_BYTES: usize = 256;
/// How long a wait for room lasts at most.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// Which message it is; it stands at the start of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// The producer thread.
    pub producer: u32,
    /// Counts that producer's messages from 0.
    pub number: u32,
}

#[derive(Default)]
struct Entry {
    is_confirmed: bool,
    deliveries: u32,
    ack: Ack,
}

/// How far the ack of a message's last delivery got.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ack {
    #[default]
    NotSent,
    /// Sent, without an answer yet: the broker may have taken it.
    InDoubt,
    Confirmed,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages of which the broker said that they are stored.
    pub confirmed: u64,
    /// Messages that arrived at least once.
    pub delivered: u64,
    /// Confirmed and never delivered.
    pub lost: u64,
    /// Delivered and never enqueued, or with other bytes than were enqueued.
    pub phantom: u64,
    /// Deliveries of a message after the first.
    pub duplicates: u64,
    /// Deliveries of a message after the broker had confirmed its ack.
    pub resurrected: u64,
}

impl Verdict {
    /// Whether the broker kept its promises.
    pub const fn is_good(&self) -> bool {
        self.lost == 0 && self.phantom == 0 && self.resurrected == 0
    }

    /// Adds another run's figures.
    pub const fn add(&mut self, other: &Self) {
        self.confirmed += other.confirmed;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.phantom += other.phantom;
        self.duplicates += other.duplicates;
        self.resurrected += other.resurrected;
    }
}

#[derive(Default)]
struct Book {
    entries: BTreeMap<MessageId, Entry>,
    phantom: u64,
    resurrected: u64,
    confirmed: u64,
    /// Enqueued, and no ack was confirmed.
    open: u64,
}

/// Shared by all threads of a run.
pub struct Ledger {
    book: Mutex<Book>,
    acked: Condvar,
    body_bytes: usize,
    open_max: u64,
}

/// What the ledger knew at one moment.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Confirmed until then.
    pub confirmed: BTreeSet<MessageId>,
    /// Of which an ack had been sent.
    pub ack_sent: BTreeSet<MessageId>,
    /// Of which an ack had been confirmed.
    pub acked: BTreeSet<MessageId>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::with_bodies(BODY_BYTES)
    }
}

impl Ledger {
    /// An empty book about messages with bodies of so many bytes, a multiple of 8.
    pub fn with_bodies(body_bytes: usize) -> Self {
        Self {
            book: Mutex::default(),
            acked: Condvar::new(),
            body_bytes,
            open_max: u64::MAX,
        }
    }

    /// The same, and producers stop where so many messages are not acknowledged.
    #[must_use]
    pub fn bounded(self, open_max: u64) -> Self {
        Self { open_max, ..self }
    }

    /// The body of a message: its id, then bytes that follow from it.
    pub fn body(&self, id: MessageId) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body_bytes);
        body.extend_from_slice(&id.producer.to_le_bytes());
        body.extend_from_slice(&id.number.to_le_bytes());
        let mut state = (u64::from(id.producer) << 32) | u64::from(id.number) | 1 << 63;
        while body.len() < self.body_bytes {
            // Xorshift (Marsaglia 2003): any change of a byte shows.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.extend_from_slice(&state.to_le_bytes());
        }
        body
    }

    /// Notes that a message goes out, before it does.
    pub fn enqueued(&self, id: MessageId) {
        let mut book = self.book();
        book.entries.entry(id).or_default();
        book.open += 1;
    }

    /// Whether there may be more messages.
    pub fn has_room(&self) -> bool {
        self.book().open < self.open_max
    }

    /// Waits until there may be more messages, but not for long.
    pub fn wait_for_room(&self) {
        let is_full = |book: &mut Book| book.open >= self.open_max;
        let waited = self
            .acked
            .wait_timeout_while(self.book(), ROOM_WAIT, is_full);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a receipt.
    pub fn confirmed(&self, id: MessageId) {
        let mut book = self.book();
        let entry = book.entries.entry(id).or_default();
        if !std::mem::replace(&mut entry.is_confirmed, true) {
            book.confirmed += 1;
        }
    }

    /// Notes a delivery and returns the id, or `None` for a body that was never enqueued.
    pub fn delivered(&self, body: &[u8]) -> Option<MessageId> {
        let id = self.identify(body);
        let mut book = self.book();
        let Some((id, entry)) = id.and_then(|id| Some((id, book.entries.get_mut(&id)?))) else {
            book.phantom += 1;
            return None;
        };
        entry.deliveries += 1;
        let before = std::mem::take(&mut entry.ack);
        book.resurrected += u64::from(before == Ack::Confirmed);
        Some(id)
    }

    /// Notes that an ack goes out, before it does.
    pub fn ack_sent(&self, id: MessageId) {
        self.book().entries.entry(id).or_default().ack = Ack::InDoubt;
    }

    /// Notes that the broker confirmed an ack.
    pub fn acked(&self, id: MessageId) {
        let mut book = self.book();
        let entry = book.entries.entry(id).or_default();
        if std::mem::replace(&mut entry.ack, Ack::Confirmed) != Ack::Confirmed {
            book.open = book.open.saturating_sub(1);
            self.acked.notify_all();
        }
    }

    /// Notes that the broker refused an ack as stale: the message must come again.
    pub fn ack_refused(&self, id: MessageId) {
        self.book().entries.entry(id).or_default().ack = Ack::NotSent;
    }

    /// What is known now.
    pub fn moment(&self) -> Moment {
        let book = self.book();
        let of = |is_so: fn(&Entry) -> bool| {
            let entries = book.entries.iter().filter(|(_, entry)| is_so(entry));
            entries.map(|(id, _)| *id).collect()
        };
        Moment {
            confirmed: of(|entry| entry.is_confirmed),
            ack_sent: of(|entry| entry.ack != Ack::NotSent),
            acked: of(|entry| entry.ack == Ack::Confirmed),
        }
    }

    /// Strikes messages out whose ack had been confirmed: if one comes again, nobody enqueued it.
    pub fn strike_out(&self, done: &BTreeSet<MessageId>) {
        let mut book = self.book();
        book.entries
            .retain(|id, entry| entry.ack != Ack::Confirmed || !done.contains(id));
    }

    /// Which message this is the body of, if one with it was ever enqueued; notes nothing.
    pub fn known(&self, body: &[u8]) -> Option<MessageId> {
        let id = self.identify(body)?;
        self.book().entries.contains_key(&id).then_some(id)
    }

    fn identify(&self, body: &[u8]) -> Option<MessageId> {
        parse(body).filter(|id| self.body(*id) == body)
    }

    /// Messages confirmed until now.
    pub fn confirmed_count(&self) -> u64 {
        self.book().confirmed
    }

    /// Whether the broker owes nothing more: an ack of every confirmed message was sent, and not
    /// refused.
    ///
    /// An ack whose answer was lost with a connection may have been taken, so it counts.
    pub fn is_settled(&self) -> bool {
        let book = self.book();
        book.entries
            .values()
            .all(|entry| !entry.is_confirmed || entry.ack != Ack::NotSent)
    }

    /// The figures of the run.
    pub fn verdict(&self) -> Verdict {
        let book = self.book();
        let mut verdict = Verdict {
            phantom: book.phantom,
            resurrected: book.resurrected,
            ..Verdict::default()
        };
        for entry in book.entries.values() {
            verdict.confirmed += u64::from(entry.is_confirmed);
            verdict.delivered += u64::from(entry.deliveries > 0);
            verdict.lost += u64::from(entry.is_confirmed && entry.deliveries == 0);
            verdict.duplicates += u64::from(entry.deliveries.saturating_sub(1));
        }
        verdict
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(body: &[u8]) -> Option<MessageId> {
    let (producer, rest) = body.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some(MessageId {
        producer: u32::from_le_bytes(*producer),
        number: u32::from_le_bytes(*number),
    })
}
