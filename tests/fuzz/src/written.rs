//! A log that the real log wrote: three segments, the last with a SEAL.

use corelane_storage::{Log, LogConfig, LogIo, NewRecord};
use corelane_wire::{Epoch, Lsn, PartitionId, Timestamp};

use crate::files::Files;

/// Segments of 48 KiB and blocks of 8 KiB: a few records fill them.
pub fn config() -> LogConfig {
    LogConfig {
        first_segment_bytes: 32 << 10,
        segment_bytes: 48 << 10,
        block_bytes_max: 8 << 10,
        cache_bytes: 64 << 10,
        read_ahead_bytes: 32 << 10,
        ..LogConfig::new(PartitionId(3), 0x1234_5678_9abc_def0)
    }
}

/// Writes records of many lengths, one to four of them per commit.
pub fn log() -> Files {
    let mut log = Log::new(config());
    let mut files = Files::default();
    let mut now = Timestamp(1_000_000_000);
    for commit in 0..14_u64 {
        for number in 0..1 + commit % 4 {
            let bytes = usize::try_from(17 + commit * 331 % 3_000 + number * 7).expect("small");
            let payload = vec![0x40 + u8::try_from(commit).expect("small"); bytes];
            let (head, batch) = payload.split_at(bytes / 3);
            let record = NewRecord {
                lsn: log.end(),
                time: now,
                kind: 3,
                epoch: Epoch(1 + commit / 5),
                head,
                batch,
            };
            log.append(record).expect("no write failed");
        }
        now.0 += 1_000_000;
        while log.durable() < log.end() {
            write_one(&mut log, &mut files, now, true);
        }
    }
    now.0 += 1_000_000_000;
    write_one(&mut log, &mut files, now, false);
    files
}

/// Does what the log asks for next, if anything.
fn write_one(log: &mut Log, files: &mut Files, now: Timestamp, flush: bool) {
    while let Some((segment, bytes)) = log.wants_segment() {
        let bytes_in_memory = usize::try_from(bytes).expect("a segment here is small");
        files.segments.insert(segment.0, vec![0; bytes_in_memory]);
        log.segment_ready(segment, bytes);
    }
    let flush_to = if flush { log.end() } else { Lsn(0) };
    let Some(io) = log.next_io(now, flush_to) else {
        return;
    };
    let LogIo::Write {
        segment,
        position,
        buffer,
        bytes,
        id,
        ..
    } = io;
    let from = usize::try_from(position).expect("a segment here is small");
    let file = files.segments.get_mut(&segment.0).expect("it was made");
    file[from..from + bytes].copy_from_slice(&buffer.as_slice()[..bytes]);
    log.on_write_done(now, id, buffer, Ok(bytes))
        .expect("the write was whole");
}
