//! The way to the disk and back: group commit, reads, segments.
//!
//! What a log asks for is submitted at the end of the turn that touched it; what the disk says
//! becomes an input of the engine at once. Invariant: (W1) a write that failed poisons its
//! partition before anything else of it is looked at; nothing is retried.

use corelane_core::Input;
use corelane_storage::{Buffer, LogIo, ReadError, SegmentNumber, SpareId, Task, VOLATILE_SPARES};

use super::delivery::Next;
use super::stalls::Writing;
use super::state::{Action, State};
use super::tokens::{ReadFor, ReadSite, Work, WriteSite};
use crate::driver::{Chore, Data, Errno, File, Op};
use crate::stats::Illness;

impl State {
    /// Submits what the partition's log wants written, and asks for the segment it will need.
    pub(super) fn commit(&mut self, slot: usize) {
        let now = self.now;
        let is_stopping = self.stopping.is_some();
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        if partition.poisoned {
            return;
        }
        if is_stopping {
            // Records that gate nothing go too.
            partition.flush_to = partition.log.end();
        }
        if partition.waiting_write.is_none() {
            partition.waiting_write = partition.log.next_io(now, partition.flush_to);
            if let Some(base) = partition.log.take_rolled() {
                partition.engine.segment_begins(base);
            }
        }
        if partition.wanted.is_none()
            && let Some((segment, bytes)) = partition.log.wants_segment()
        {
            partition.wanted = Some((segment, bytes));
            let (id, is_volatile) = (partition.id, partition.is_volatile);
            self.spares_for_mut(is_volatile).want(id, segment, bytes);
        }
        if let Some(partition) = self.partitions[slot].serving().filter(|it| it.is_stuck()) {
            let (id, is_volatile) = (partition.id, partition.is_volatile);
            self.spares_for_mut(is_volatile).press(id);
        }
        self.write(slot);
    }

    /// Submits the write that waits, if its file is open.
    fn write(&mut self, slot: usize) {
        let begun = self.now;
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let Some(LogIo::Write {
            segment,
            position,
            buffer,
            bytes,
            durable,
            id,
        }) = partition.waiting_write.take()
        else {
            return;
        };
        if let Some(file) = partition.files.take(segment) {
            let site = WriteSite {
                slot,
                segment,
                id,
                begun,
            };
            let op = Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable: durable && !partition.is_volatile,
            };
            partition.writing = Some(Writing::default());
            self.submit(Work::Write(site), op);
            return;
        }
        partition.waiting_write = Some(LogIo::Write {
            segment,
            position,
            buffer,
            bytes,
            durable,
            id,
        });
        self.open(slot, segment);
    }

    /// Opens the segments that will be written to first, so that no request waits for that.
    pub(super) fn open_newest(&mut self, slot: usize) {
        let Some(partition) = self.partitions[slot].serving() else {
            return;
        };
        for segment in partition.log.segments().into_iter().rev().take(2) {
            self.open(slot, segment);
        }
    }

    /// Opens a segment unless that was asked for before.
    fn open(&mut self, slot: usize, segment: SegmentNumber) {
        if let Some(partition) = self.partitions[slot].serving_mut()
            && partition.files.must_open(segment)
        {
            let op = Op::OpenSegment {
                partition: partition.id,
                segment,
            };
            self.submit(Work::Open { slot, segment }, op);
        }
    }

    /// A write of the log ended.
    pub(super) fn on_written(&mut self, site: WriteSite, result: Result<usize, Errno>, data: Data) {
        let now = self.now;
        let buffer = block(data);
        let written = *result.as_ref().unwrap_or(&0);
        self.counters.commits_total += 1;
        self.counters.commit_bytes_total += written as u64;
        let nanoseconds = u64::try_from(now.since(site.begun).as_nanos()).unwrap_or(u64::MAX);
        self.counters.commit_nanoseconds_total += nanoseconds;
        let Some(partition) = self.partitions[site.slot].serving_mut() else {
            return;
        };
        partition.files.done(site.segment);
        if partition.writing.take().is_some_and(|it| it.is_stalled()) {
            tracing::info!(partition = partition.id.0, "the write of the log returned");
            self.stats.remove_ill(partition.id, Illness::Stalled);
        }
        if partition.poisoned {
            // W2: it confirms nothing any more.
            return;
        }
        partition.checkpoints.wrote(written);
        let result = result.map_err(|errno| errno.0);
        match partition.log.on_write_done(now, site.id, buffer, result) {
            Ok(Some(end)) => {
                self.step(site.slot, Input::Durable { end });
                self.checkpoint(site.slot);
            }
            Ok(None) => {}
            Err(poison) => self.poison(site.slot, &poison.to_string()),
        }
    }

    /// The disk failed under a partition: it confirms nothing more until the next start (W1).
    pub(super) fn poison(&mut self, slot: usize, reason: &str) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        if !partition.poisoned {
            tracing::error!(
                partition = partition.id.0,
                %reason,
                "partition is poisoned: its disk failed; restart the broker once the disk is well"
            );
            self.stats.add_ill(partition.id, Illness::Poisoned);
            partition.poisoned = true;
            partition.waiting_write = None;
            self.step(slot, Input::Poisoned);
        }
    }

    /// A segment was opened, or could not be.
    pub(super) fn on_opened(
        &mut self,
        slot: usize,
        segment: SegmentNumber,
        opened: Result<File, Errno>,
    ) {
        let Some(partition) = self.partitions[slot].serving_mut() else {
            return;
        };
        let file = match opened {
            Ok(file) => file,
            Err(errno) => {
                partition.files.not_opened(segment);
                partition.relocation.fetches.not_opened(segment);
                partition.key_reads.not_opened(segment);
                partition.letter_reads.not_opened(segment);
                let is_written_to = partition
                    .waiting_write
                    .as_ref()
                    .is_some_and(|LogIo::Write { segment: of, .. }| *of == segment)
                    || partition.wanted.is_some_and(|(of, _)| of == segment);
                let is_read = partition
                    .waiting_read
                    .take_if(|of| *of == segment)
                    .is_some();
                let text = format!("segment {segment} cannot be opened: {errno}");
                if is_written_to {
                    self.poison(slot, &text);
                }
                if is_read {
                    self.fail_delivery(slot, &text);
                }
                return;
            }
        };
        partition.files.opened(segment, file);
        if let Some((number, bytes)) = partition.wanted
            && number == segment
        {
            partition.wanted = None;
            if !partition.poisoned {
                partition.log.segment_ready(segment, bytes);
            }
        }
        // What waited for the file is asked for again.
        if partition
            .waiting_read
            .take_if(|of| *of == segment)
            .is_some()
        {
            partition.pending.read_done();
        }
        partition.relocation.fetches.opened(segment);
        partition.key_reads.opened(segment);
        partition.letter_reads.opened(segment);
        let has_leaving = partition.checkpoints.has_leaving();
        if let Some(file) = partition.files.surplus() {
            self.submit(Work::CloseFile, Op::CloseFile { file });
        }
        if has_leaving {
            self.retire_segments(slot);
        }
    }

    /// Submits the read that a delivery needs, if its file is open.
    pub(super) fn read(&mut self, slot: usize, next: Next) {
        let Next::Read {
            segment,
            position,
            bytes,
        } = next
        else {
            return;
        };
        let site = ReadSite {
            slot,
            segment,
            position,
            purpose: ReadFor::Delivery,
        };
        if !self.read_at(site, bytes)
            && let Some(partition) = self.partitions[slot].serving_mut()
        {
            partition.waiting_read = Some(segment);
        }
    }

    /// Submits a read; if its file is not open, that is opened instead, and the read is to be asked for again: false.
    pub(super) fn read_at(&mut self, site: ReadSite, bytes: usize) -> bool {
        let ReadSite {
            slot,
            segment,
            position,
            ..
        } = site;
        let hosted = self.partitions[slot].serving_mut();
        let Some(file) = hosted.and_then(|it| it.files.take(segment)) else {
            self.open(slot, segment);
            return false;
        };
        self.counters.log_reads_total += 1;
        let op = Op::Read {
            file,
            position,
            buffer: Buffer::zeroed(bytes),
            bytes,
        };
        self.submit(Work::Read(site), op);
        true
    }

    /// A read of the log ended.
    pub(super) fn on_read(&mut self, site: ReadSite, result: Result<usize, Errno>, data: Data) {
        let buffer = block(data);
        let Some(partition) = self.partitions[site.slot].serving_mut() else {
            return;
        };
        partition.files.done(site.segment);
        let has_leaving = partition.checkpoints.has_leaving();
        let result = result.map_err(|errno| errno.0);
        let log = &mut partition.log;
        let outcome = log.on_read_done(site.segment, site.position, buffer, result);
        if let ReadFor::Fetch(whose) = site.purpose {
            partition.fetches(whose).read_done(outcome.is_ok());
        }
        match outcome {
            Ok(()) if site.purpose == ReadFor::Delivery => partition.pending.read_done(),
            Ok(()) => {}
            Err(error) => {
                if let ReadError::Damaged { .. } = error {
                    self.counters.damaged_reads_total += 1;
                    self.stats.add_ill(partition.id, Illness::PartlyDamaged);
                }
                if site.purpose == ReadFor::Delivery {
                    self.fail_delivery(site.slot, &error.to_string());
                }
            }
        }
        if has_leaving {
            self.retire_segments(site.slot);
        }
    }

    fn fail_delivery(&mut self, slot: usize, text: &str) {
        let (partitions, mut at) = self.step_parts();
        if let Some(partition) = partitions[slot].serving_mut() {
            partition.delivery_failed(text, &mut at);
        }
    }

    /// Submits what the spare segments need.
    pub(super) fn keep_spares(&mut self) {
        self.keep_spares_for(false);
        if self.volatile.is_some() {
            self.keep_spares_for(true);
        }
    }

    fn keep_spares_for(&mut self, is_volatile: bool) {
        let now = self.now;
        while let Some((task, bytes)) = self.spares_for_mut(is_volatile).next_task(now) {
            if let Task::Install { partition, .. } = task {
                let slot = self.topology.slot_of(partition);
                let partition = self.partitions[slot].serving_mut();
                if let Some((_, wanted)) = partition.and_then(|it| it.wanted.as_mut()) {
                    // The spare may be larger than asked for, or smaller on a full disk.
                    *wanted = bytes;
                }
            }
            let op = Op::Housekeeping(Chore::Task(task));
            let token = self.submit(Work::Housekeeping(task), op);
            if let Task::MakeSpare { .. } = task {
                self.spares_for_mut(is_volatile).being_made(token);
            }
        }
        if let Some(token) = self.spares_for_mut(is_volatile).hasten() {
            self.actions.push_back(Action::Cancel(token));
        }
    }

    /// Work on the spare segments ended.
    pub(super) fn on_housekeeping(&mut self, task: Task, result: Result<usize, Errno>) {
        match task {
            Task::MakeSpare { spare, bytes } => self.on_spare(spare, bytes, result),
            Task::Install {
                partition,
                segment,
                spare,
            } => {
                let slot = self.topology.slot_of(partition);
                match result {
                    Ok(_) => self.open(slot, segment),
                    // Nothing was renamed: a name needs room too.
                    Err(errno) if errno.is_full() => {
                        let wanted = self.partitions[slot].serving().and_then(|it| it.wanted);
                        if let Some((_, bytes)) = wanted {
                            let (now, to) = (self.now, (partition, segment));
                            let spares = self.spares_for_mut(is_volatile(spare));
                            spares.not_installed(now, (spare, bytes), to);
                        }
                    }
                    // What a failed rename or directory sync left behind is unknown (W1).
                    Err(errno) => {
                        self.poison(
                            slot,
                            &format!("segment {segment} cannot be installed: {errno}"),
                        );
                    }
                }
            }
            // Nothing waits for a file that goes.
            Task::Retire { spare, .. } => {
                let spares = self.spares_for_mut(is_volatile(spare));
                spares.retired(spare, result == Ok(1));
                left_behind(task, result);
            }
            Task::RemoveSegment { .. } => left_behind(task, result),
        }
    }

    /// A spare segment was made, or could not be.
    fn on_spare(&mut self, spare: SpareId, bytes: u64, result: Result<usize, Errno>) {
        let now = self.now;
        let spares = self.spares_for_mut(is_volatile(spare));
        let (was_full, was_short) = (spares.is_full(), spares.is_short());
        spares.made(now, spare, bytes, result.is_ok());
        let (is_full, is_short) = (spares.is_full(), spares.is_short());
        if let Err(errno) = result
            && is_full
            && !was_full
        {
            tracing::warn!(
                bytes,
                %errno,
                "no room for a spare segment: enqueues are refused where one is needed, the rest \
                 goes on; free some room on the disk of data_dir, see `df`"
            );
        } else if let Err(errno) = result
            && is_short
            && !was_short
        {
            tracing::warn!(
                bytes,
                %errno,
                "no room for a segment of full size, smaller ones are made; free some room on the \
                 disk of data_dir, see `df`"
            );
        }
        if was_full && !is_full {
            tracing::info!("there is room for segments again");
        }
    }
}

/// Whether a spare becomes a segment of a volatile partition.
fn is_volatile(spare: SpareId) -> bool {
    spare >= VOLATILE_SPARES
}

/// A segment that is not needed any more and could not go is looked at by the next start.
fn left_behind(task: Task, result: Result<usize, Errno>) {
    if let Err(errno) = result {
        tracing::warn!(?task, %errno, "a segment that is not needed any more stays until the next start");
    }
}

/// The buffer that every read and write brings back.
fn block(data: Data) -> Buffer {
    match data {
        Data::Block(buffer) => buffer,
        Data::None
        | Data::Socket(_)
        | Data::Received(_)
        | Data::Sent(_)
        | Data::File(_)
        | Data::Chunk(_)
        | Data::Checkpoint(_)
        | Data::Scrub(_) => {
            panic!("a driver gives the buffer of every read and write back")
        }
    }
}
