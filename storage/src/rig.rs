//! A log on the disk in memory, with the records that were appended as the model to compare with.

use std::sync::OnceLock;

use corelane_wire::{Epoch, Lsn, PartitionId, Timestamp};

use crate::buffer::Buffer;
use crate::config::LogConfig;
use crate::error::{ReadError, RecoverError};
use crate::layout::{BLOCK_ALIGN, RETIRED_BYTES, SegmentNumber};
use crate::log::{Log, LogIo, Lookup};
use crate::memory::{Memory, PARTITION};
use crate::record::NewRecord;
use crate::recovery::{Recovery, Scanned, recover};
use crate::segment_table::SegmentTable;
use crate::volume::{SpareId, Task, Volume};

pub(crate) const LOG_ID: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;
const MILLI: u64 = 1_000_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    pub(crate) epoch: Epoch,
    pub(crate) head: Vec<u8>,
    pub(crate) batch: Vec<u8>,
}

pub(crate) struct Rig {
    pub(crate) disk: Memory,
    pub(crate) log: Log,
    /// What was appended; the lsn is the index.
    pub(crate) model: Vec<Kept>,
    /// Where segments began.
    pub(crate) rolled: Vec<Lsn>,
    /// The checkpoint that a start begins with.
    pub(crate) checkpoint: (Lsn, SegmentTable),
    pub(crate) now: Timestamp,
    pub(crate) epoch: Epoch,
    /// What stands in a new segment behind the pages that are zeroed when one becomes a spare.
    pub(crate) dirt: Dirt,
}

/// Bytes of a segment file of so many bytes, before it is used again.
pub(crate) type Dirt = fn(SegmentNumber, usize) -> Vec<u8>;

/// Spares as they are made, and used ones.
pub(crate) const DIRTS: [Dirt; 3] = [zeros, garbage, old_blocks];

fn zeros(_: SegmentNumber, bytes: usize) -> Vec<u8> {
    vec![0; bytes]
}

fn garbage(segment: SegmentNumber, bytes: usize) -> Vec<u8> {
    filler(u64::from(segment.0) + 99, bytes)
}

/// Whole blocks of the same partition in their own places, which attest more than the log that comes will ever hold.
fn old_blocks(segment: SegmentNumber, bytes: usize) -> Vec<u8> {
    static OLD: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let old = OLD.get_or_init(|| {
        let mut rig = Rig::new();
        rig.epoch = Epoch(1 << 40);
        for at in 0..400 {
            rig.commit([90, 7_900, 300, 3_900][at % 4]);
        }
        let files = rig.disk.segments.values();
        files.map(|file| file.now.clone()).collect()
    });
    // The newest ones, whose lsn no test reaches.
    let at = old.len() - 10 - segment.0 as usize % 20;
    let mut file = old[at].clone();
    file.resize(bytes, 0);
    file
}

/// Segments of 48 KiB and blocks of 8 KiB: a few records fill them.
pub(crate) fn tiny_config() -> LogConfig {
    LogConfig {
        first_segment_bytes: 32 << 10,
        segment_bytes: 48 << 10,
        block_bytes_max: 8 << 10,
        cache_bytes: 64 << 10,
        read_ahead_bytes: 32 << 10,
        ..LogConfig::new(PartitionId(PARTITION), LOG_ID)
    }
}

/// Bytes none of which is zero, so that a lost sector never looks like padding.
pub(crate) fn filler(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.to_le_bytes()[6] | 1
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// For comparison with golden bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap();
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(tiny_config())
    }

    pub(crate) fn with(config: LogConfig) -> Self {
        Self {
            disk: Memory::default(),
            log: Log::new(config),
            model: Vec::new(),
            rolled: Vec::new(),
            checkpoint: (Lsn(0), SegmentTable::default()),
            now: Timestamp(1_000_000_000),
            epoch: Epoch(1),
            dirt: zeros,
        }
    }

    /// The same on spares that hold something.
    pub(crate) fn over(dirt: Dirt) -> Self {
        Self {
            dirt,
            ..Self::new()
        }
    }

    /// Another machine with the same disk, stopped.
    pub(crate) fn fork(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            log: Log::new(*self.log.config()),
            model: self.model.clone(),
            rolled: self.rolled.clone(),
            checkpoint: self.checkpoint.clone(),
            ..*self
        }
    }

    /// Appends a record with `bytes` of payload, a third of it head.
    pub(crate) fn append(&mut self, bytes: usize) -> Lsn {
        let lsn = self.log.end();
        let payload = filler(lsn.0 ^ (self.epoch.0 << 32), bytes);
        let (head, batch) = payload.split_at(bytes / 3);
        let record = NewRecord {
            lsn,
            time: self.now,
            kind: 3,
            epoch: self.epoch,
            head,
            batch,
        };
        self.log.append(record).unwrap();
        self.model.truncate(usize::try_from(lsn.0).unwrap());
        self.model.push(Kept {
            epoch: self.epoch,
            head: head.to_vec(),
            batch: batch.to_vec(),
        });
        lsn
    }

    /// Appends and makes durable.
    pub(crate) fn commit(&mut self, bytes: usize) -> Lsn {
        let lsn = self.append(bytes);
        self.flush();
        lsn
    }

    /// Runs all the log wants until everything appended is durable.
    pub(crate) fn flush(&mut self) {
        while self.log.durable() < self.log.end() {
            let io = self.next_write().expect("a flush has something to write");
            self.write(&io);
            self.disk_sync(&io);
            self.done(io);
        }
        self.supply();
    }

    /// Lets 5 ms pass, so that a SEAL is written; returns whether one was.
    pub(crate) fn idle(&mut self) -> bool {
        self.now = Timestamp(self.now.0 + 5 * MILLI);
        let io = self.log.next_io(self.now, Lsn(0));
        self.rolled.extend(self.log.take_rolled());
        let Some(io) = io else {
            return false;
        };
        self.write(&io);
        self.disk_sync(&io);
        self.done(io);
        true
    }

    pub(crate) fn next_write(&mut self) -> Option<LogIo> {
        self.supply();
        let io = self.log.next_io(self.now, self.log.end());
        self.rolled.extend(self.log.take_rolled());
        io
    }

    /// Gives the log the segments it asks for: of used spares, if there are any.
    pub(crate) fn supply(&mut self) {
        while let Some((segment, bytes)) = self.log.wants_segment() {
            let spare = self
                .used_spare(bytes)
                .unwrap_or_else(|| self.make_spare(segment, bytes));
            let bytes = self.disk.spares[&spare.0].now.len() as u64;
            let install = Task::Install {
                spare,
                partition: PartitionId(PARTITION),
                segment,
            };
            install.run(&mut self.disk).unwrap();
            self.log.segment_ready(segment, bytes);
        }
    }

    fn used_spare(&self, bytes: u64) -> Option<SpareId> {
        let mut spares = self.disk.spares.iter();
        let found = spares.find(|(_, file)| file.now.len() as u64 >= bytes);
        found.map(|(spare, _)| SpareId(*spare))
    }

    fn make_spare(&mut self, segment: SegmentNumber, bytes: u64) -> SpareId {
        let spare = SpareId(segment.0);
        let make = Task::MakeSpare { spare, bytes };
        make.run(&mut self.disk).unwrap();
        let file = self.disk.spares.get_mut(&spare.0).unwrap();
        let old = (self.dirt)(segment, file.now.len());
        file.now[RETIRED_BYTES..].copy_from_slice(&old[RETIRED_BYTES..]);
        file.durable = file.now.clone();
        spare
    }

    pub(crate) fn write(&mut self, io: &LogIo) {
        let LogIo::Write {
            segment,
            position,
            buffer,
            bytes,
            ..
        } = io;
        assert_eq!(buffer.as_slice().as_ptr().addr() % BLOCK_ALIGN, 0);
        assert!(bytes.is_multiple_of(BLOCK_ALIGN) && *bytes > 0);
        assert!(position.is_multiple_of(BLOCK_ALIGN as u64));
        let bytes = &buffer.as_slice()[..*bytes];
        self.disk
            .write_at(PartitionId(PARTITION), *segment, *position, bytes)
            .unwrap();
    }

    pub(crate) fn disk_sync(&mut self, io: &LogIo) {
        let LogIo::Write {
            segment, durable, ..
        } = io;
        if *durable {
            self.disk.sync(PartitionId(PARTITION), *segment).unwrap();
        }
    }

    pub(crate) fn done(&mut self, io: LogIo) -> Option<Lsn> {
        let LogIo::Write {
            buffer, bytes, id, ..
        } = io;
        self.log
            .on_write_done(self.now, id, buffer, Ok(bytes))
            .unwrap()
    }

    /// Takes note of a checkpoint of everything below `end`, which the next starts begin with.
    pub(crate) fn checkpoint(&mut self, end: Lsn) {
        let mut bytes = Vec::new();
        self.log.segment_table(end).encode(&mut bytes);
        let table = SegmentTable::decode(&bytes).expect("what was encoded");
        assert_eq!(table, self.log.segment_table(end));
        self.checkpoint = (end, table);
    }

    /// Starts again from the disk; the model is cut to what came back, after comparing it.
    pub(crate) fn restart(&mut self) -> Result<Recovery, RecoverError> {
        let config = *self.log.config();
        let (start, table) = &self.checkpoint;
        let mut next = *start;
        let (mut seen, mut bases) = (Vec::new(), Vec::new());
        let visit = &mut |scanned: Scanned<'_>| {
            let view = match scanned {
                Scanned::Segment { base } => {
                    assert_eq!(base, next, "a segment begins with the next record");
                    bases.push(base);
                    return Ok(());
                }
                Scanned::Block(_) => return Ok(()),
                Scanned::Record(view) => view,
            };
            assert_eq!(
                (view.lsn, view.kind),
                (next, 3),
                "records come in lsn order"
            );
            next = Lsn(next.0 + 1);
            seen.push(Kept {
                epoch: view.epoch,
                head: view.head().to_vec(),
                batch: view.batch().to_vec(),
            });
            Ok(())
        };
        let (log, found) = recover(&mut self.disk, config, (*start, table), visit)?;
        let from = usize::try_from(start.0).unwrap();
        let end = from + seen.len();
        assert!(end <= self.model.len(), "nothing comes from nowhere");
        assert!(seen == self.model[from..end], "what comes back is a prefix");
        assert_eq!((found.end, found.end.0), (next, end as u64));
        assert_eq!(found.records, seen.len() as u64);
        assert_eq!((log.end(), log.durable()), (found.end, found.end));
        self.rolled.retain(|base| *base < found.end);
        let rolled = self.rolled.iter().filter(|base| *base >= start);
        assert!(bases.iter().eq(rolled), "segments begin where they began");
        self.model.truncate(end);
        self.log = log;
        self.epoch = Epoch(found.epoch.0.max(self.epoch.0) + 1);
        Ok(found)
    }

    /// Reads a record as the shell does: perhaps a footer, then a block.
    pub(crate) fn read(&mut self, lsn: Lsn) -> Result<Vec<u8>, ReadError> {
        for _ in 0..3 {
            let (segment, position, bytes) = match self.log.reader().read(lsn) {
                Lookup::Cached(view) => {
                    assert_eq!(view.lsn, lsn);
                    return Ok(view.payload.to_vec());
                }
                Lookup::OnDisk {
                    segment,
                    position,
                    bytes,
                } => (segment, position, bytes),
                lookup @ (Lookup::Damaged(_) | Lookup::Unknown) => panic!("{lsn}: {lookup:?}"),
            };
            let mut buffer = Buffer::zeroed(bytes);
            let file = &self.disk.segments[&(PARTITION, segment.0)].now;
            let from = usize::try_from(position).unwrap();
            buffer
                .as_mut_slice()
                .copy_from_slice(&file[from..from + bytes]);
            self.log
                .on_read_done(segment, position, buffer, Ok(bytes))?;
        }
        panic!("{lsn} was read and is not in the cache");
    }

    /// Reads every record from `from` on and compares it.
    pub(crate) fn check_reads(&mut self, from: Lsn) {
        for lsn in from.0..self.log.durable().0 {
            let kept = &self.model[usize::try_from(lsn).unwrap()];
            let payload = [&kept.head[..], &kept.batch].concat();
            assert!(self.read(Lsn(lsn)).unwrap() == payload, "record {lsn}");
        }
    }

    /// Every byte of every segment file.
    pub(crate) fn content(&self) -> Vec<((u32, u32), Vec<u8>)> {
        self.disk.content()
    }
}
