//! A second opinion on segment files: what in them is intact, read without the code of recovery.

use std::collections::{BTreeMap, BTreeSet};

use corelane_storage::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, FORMAT_LEVEL, RecordView,
    SEGMENT_HEADER_BYTES,
};
use corelane_wire::{Epoch, Lsn, RecordHeader, Timestamp, checksum};

use crate::files::Files;
use crate::written::config;
use crate::{u32_at, u64_at};

/// A record, with bytes of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    lsn: Lsn,
    epoch: Epoch,
    time: Timestamp,
    kind: u8,
    payload: Vec<u8>,
}

impl From<RecordView<'_>> for Seen {
    fn from(view: RecordView<'_>) -> Self {
        Self {
            lsn: view.lsn,
            epoch: view.epoch,
            time: view.time,
            kind: view.kind,
            payload: view.payload.to_vec(),
        }
    }
}

/// A block whose header is intact and names the place where it stands.
#[derive(Clone, Debug)]
struct Block {
    uuid: u64,
    flags: u16,
    epoch: u64,
    first: u64,
    count: u64,
    attested: u64,
    end_position: usize,
    /// Whether body and padding are intact too.
    is_whole: bool,
    records: Vec<Seen>,
}

/// What is intact in some files.
#[derive(Debug)]
pub struct Opinion {
    blocks: BTreeMap<(u32, usize), Block>,
    /// The segments that have an intact header.
    headers: BTreeSet<u32>,
    /// The identity of each segment that has one.
    identities: BTreeMap<u32, u64>,
    segments: Vec<u32>,
}

impl Opinion {
    /// Reads every page of every file.
    pub fn on(files: &Files) -> Self {
        let mut opinion = Self {
            blocks: BTreeMap::new(),
            headers: BTreeSet::new(),
            identities: BTreeMap::new(),
            segments: files.segments.keys().copied().collect(),
        };
        for (segment, file) in &files.segments {
            let copies = [0, BLOCK_ALIGN].map(|at| identity(file, at));
            if let Some(uuid) = copies.into_iter().flatten().next() {
                opinion.headers.insert(*segment);
                opinion.identities.insert(*segment, uuid);
            }
            for position in (0..file.len()).step_by(BLOCK_ALIGN) {
                if let Some(block) = block(&file[position..], position) {
                    opinion.blocks.insert((*segment, position), block);
                }
            }
            // Without a header, the first block tells which segment it is, if it tells the truth.
            let first = opinion.blocks.get(&(*segment, SEGMENT_HEADER_BYTES));
            let first = first.filter(|first| first.uuid == hash(first.epoch, first.first));
            if let Some(uuid) = first.map(|first| first.uuid) {
                opinion.identities.entry(*segment).or_insert(uuid);
            }
        }
        opinion
    }

    /// Whether this record stands in an intact block.
    pub fn has(&self, record: &Seen) -> bool {
        let mut blocks = self.blocks.values().filter(|block| block.is_whole);
        blocks.any(|block| block.records.contains(record))
    }

    /// Something that proves that the log went on behind `end`, if there is anything.
    pub fn proof_of_more(&self, end: Lsn) -> Option<String> {
        let (segment, tail) = self.tail(end);
        let later = self.segments.iter().filter(|number| **number > segment);
        if let Some(number) = later.clone().find(|it| self.headers.contains(it)) {
            return Some(format!("segment {number} was begun"));
        }
        let behind = self.blocks.range((segment, tail)..);
        for ((at, position), block) in behind {
            let is_of_segment = self.identities.get(at) == Some(&block.uuid);
            if is_of_segment && block.attested > end.0 {
                let attested = block.attested;
                return Some(format!(
                    "segment {at} position {position} attests {attested}"
                ));
            }
        }
        None
    }

    /// Where the block behind the last one below `end` is expected.
    fn tail(&self, end: Lsn) -> (u32, usize) {
        let mut next = 0;
        for segment in &self.segments {
            let mut position = SEGMENT_HEADER_BYTES;
            loop {
                match self.blocks.get(&(*segment, position)) {
                    Some(block) if block.is_whole && block.flags == FOOTER => break,
                    Some(block) if block.is_whole && block.flags == DATA && next < end.0 => {
                        position = block.end_position;
                        next = block.first.saturating_add(block.count);
                    }
                    Some(_) | None => return (*segment, position),
                }
            }
        }
        (u32::MAX, 0)
    }
}

const DATA: u16 = 0;
const FOOTER: u16 = 2;

/// The identity that an intact header at `at` gives its segment.
fn identity(file: &[u8], at: usize) -> Option<u64> {
    let page = file.get(at..at + BLOCK_ALIGN)?;
    let level = u16::from_le_bytes([page[8], page[9]]);
    let is_intact = page.starts_with(b"CLSG")
        && u32_at(page, 4) == checksum(&[&page[8..]])
        && (1..=FORMAT_LEVEL).contains(&level)
        && u64_at(page, 80) == at as u64
        && page[10..12] == [0; 2]
        && page[88..].iter().all(|byte| *byte == 0);
    is_intact.then(|| u64_at(page, 56))
}

/// The identity of the segment that begins with this lsn in this epoch, as the page of the format has it.
fn hash(epoch: u64, base: u64) -> u64 {
    let config = config();
    let fields = [
        &config.log_id.to_le_bytes()[..],
        &config.partition.0.to_le_bytes(),
        &epoch.to_le_bytes(),
        &base.to_le_bytes(),
    ];
    let fnv = fields
        .concat()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 33)).max(1)
}

fn block(bytes: &[u8], position: usize) -> Option<Block> {
    let header = bytes.get(..BLOCK_HEADER_BYTES)?;
    let flags = u16::from_le_bytes([header[68], header[69]]);
    let is_intact = header.starts_with(b"CLBK")
        && u32_at(header, 4) == checksum(&[&header[8..]])
        && (1..=FORMAT_LEVEL).contains(&u16::from_le_bytes([header[70], header[71]]))
        && header[72..].iter().all(|byte| *byte == 0)
        && flags <= 2
        && u32_at(header, 24) == config().partition.0
        && u64_at(header, 56) == position as u64;
    let body_bytes = u32_at(header, 8) as usize;
    if !is_intact || body_bytes > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES {
        return None;
    }
    let length = (BLOCK_HEADER_BYTES + body_bytes).next_multiple_of(BLOCK_ALIGN);
    let whole = bytes.get(BLOCK_HEADER_BYTES..length);
    let is_whole = whole.is_some_and(|body| checksum(&[body]) == u32_at(header, 12));
    let mut block = Block {
        uuid: u64_at(header, 16),
        flags,
        epoch: u64_at(header, 32),
        first: u64_at(header, 40),
        count: u64::from(u32_at(header, 28)),
        attested: u64_at(header, 48),
        end_position: position + length,
        is_whole,
        records: Vec::new(),
    };
    if is_whole && flags == DATA {
        let body = &bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + body_bytes];
        block.records = records(body, block.first, Epoch(u64_at(header, 32)));
    }
    Some(block)
}

fn records(mut body: &[u8], first: u64, epoch: Epoch) -> Vec<Seen> {
    let mut records = Vec::new();
    while let Ok((header, payload)) = RecordHeader::read(body) {
        records.push(Seen {
            lsn: Lsn(first.saturating_add(u64::from(header.lsn_delta))),
            epoch,
            time: header.time,
            kind: header.kind,
            payload: payload.to_vec(),
        });
        body = &body[header.bytes as usize..];
    }
    records
}
