//! Records that an engine has asked for: read like those of deliveries, and given to it in the order in which it asked.
//!
//! Invariant: (F1) one record of a purpose is read at a time, and nothing of that purpose is given before it.

use std::collections::VecDeque;

use corelane_core::{FetchFor, Input};
use corelane_storage::{Lookup, SegmentNumber};
use corelane_wire::{Lsn, Offset, Timestamp};

use super::partition::{Partition, Step};
use super::state::State;
use super::tokens::{ReadFor, ReadSite};

/// What an engine has asked for with one purpose.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// The records, each with the first message of its batch.
    wanted: VecDeque<(Lsn, Offset)>,
    /// What the first of them waits for.
    waits: Option<Wait>,
    /// It cannot be read.
    has_failed: bool,
    /// Memory for one batch.
    batch: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Open(SegmentNumber),
    Read,
}

impl Fetches {
    /// The engine wants a record.
    pub(super) fn push(&mut self, lsn: Lsn, first: Offset) {
        self.wanted.push_back((lsn, first));
    }

    /// The first record that is wanted.
    pub(super) fn front(&self) -> Option<(Lsn, Offset)> {
        self.wanted.front().copied()
    }

    /// Whether none is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A file was opened.
    pub(super) fn opened(&mut self, segment: SegmentNumber) {
        self.waits.take_if(|wait| *wait == Wait::Open(segment));
    }

    /// A file could not be opened.
    pub(super) fn not_opened(&mut self, segment: SegmentNumber) {
        let waited = self.waits.take_if(|wait| *wait == Wait::Open(segment));
        self.has_failed |= waited.is_some();
    }

    /// The read that the first record waited for ended.
    pub(super) fn read_done(&mut self, is_good: bool) {
        self.waits = None;
        self.has_failed |= !is_good;
    }

    /// When a record is at hand.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let is_ready = self.waits.is_none() && !self.wanted.is_empty();
        is_ready.then_some(Timestamp(0))
    }
}

/// What the record at the front is.
enum Front {
    /// Its batch is in memory.
    Here,
    /// It has to be read.
    Away(SegmentNumber, u64, usize),
    /// It cannot be read.
    Lost,
}

impl Partition {
    /// What was asked for with a purpose.
    pub(super) fn fetches(&mut self, whose: FetchFor) -> &mut Fetches {
        match whose {
            FetchFor::Relocation => &mut self.relocation.fetches,
            FetchFor::Keys => &mut self.key_reads,
            FetchFor::DeadLetters => &mut self.letter_reads,
        }
    }

    /// Looks for the record that the engine waits for.
    fn find_front(&mut self, whose: FetchFor, lsn: Lsn) -> Front {
        if std::mem::take(&mut self.fetches(whose).has_failed) {
            return Front::Lost;
        }
        let mut batch = std::mem::take(&mut self.fetches(whose).batch);
        batch.clear();
        let front = match self.log.reader().read(lsn) {
            Lookup::Cached(record) => {
                batch.extend_from_slice(record.batch());
                Front::Here
            }
            Lookup::OnDisk {
                segment,
                position,
                bytes,
            } => Front::Away(segment, position, bytes),
            Lookup::Damaged(_) | Lookup::Unknown => Front::Lost,
        };
        self.fetches(whose).batch = batch;
        front
    }

    /// Gives the record at the front to the engine.
    fn give_front(&mut self, whose: FetchFor, is_here: bool, at: &mut Step<'_>) {
        let bytes = std::mem::take(&mut self.fetches(whose).batch);
        let batch = is_here.then_some(bytes.as_slice());
        self.step(Input::Fetched { whose, batch }, at);
        let fetches = self.fetches(whose);
        fetches.wanted.pop_front();
        fetches.batch = bytes;
    }
}

impl State {
    /// Gives a partition the records that it asked for to know keys, and to forward dead messages, as far as they are
    /// at hand.
    pub(super) fn read_records(&mut self, slot: usize) {
        for whose in [FetchFor::Keys, FetchFor::DeadLetters] {
            let hosted = self.partitions[slot].serving_mut();
            let has_some =
                |it: &mut Partition| it.fetches(whose).next_deadline().is_some() && !it.poisoned;
            if hosted.is_some_and(has_some) {
                self.fetch(slot, whose);
            }
        }
    }

    /// Gives the records that were asked for with a purpose to the engine, until one has to be read.
    pub(super) fn fetch(&mut self, slot: usize, whose: FetchFor) {
        let (partitions, mut at) = self.step_parts();
        let Some(partition) = partitions[slot].serving_mut() else {
            return;
        };
        // What is asked for on the way has time until the next turn.
        for _ in 0..partition.fetches(whose).wanted.len() {
            let fetches = partition.fetches(whose);
            let Some((lsn, _)) = fetches.front().filter(|_| fetches.waits.is_none()) else {
                return;
            };
            match partition.find_front(whose, lsn) {
                Front::Here => partition.give_front(whose, true, &mut at),
                Front::Lost => partition.give_front(whose, false, &mut at),
                Front::Away(segment, position, bytes) => {
                    return self.read_fetch(slot, whose, (segment, position, bytes));
                }
            }
        }
    }

    fn read_fetch(
        &mut self,
        slot: usize,
        whose: FetchFor,
        (segment, position, bytes): (SegmentNumber, u64, usize),
    ) {
        let site = ReadSite {
            slot,
            segment,
            position,
            purpose: ReadFor::Fetch(whose),
        };
        let wait = if self.read_at(site, bytes) {
            Wait::Read
        } else {
            Wait::Open(segment)
        };
        if let Some(partition) = self.partitions[slot].serving_mut() {
            partition.fetches(whose).waits = Some(wait);
        }
    }
}
