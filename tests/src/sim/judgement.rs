//! What the world itself checks: recovery on copies of the disk, and the whole seed at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use corelane::recovery::{PartitionState, open_partition};
use corelane_core::record::Record;
use corelane_core::{Engine, Limits};
use corelane_storage::{RecordView, RecoverError, Scanned, SegmentTable, recover};
use corelane_wire::{Lsn, PartitionId};

use crate::sim::checker::Event as History;
use crate::sim::checker::evidence::{Evidence, LogRecord};
use crate::sim::checker::verdict::judge;
use crate::sim::disk::Stop;
use crate::sim::driver::{SharedDisk, lock};
use crate::sim::node::log_config;
use crate::sim::random::Ppm;
use crate::sim::rot;
use crate::sim::volume::SimVolume;
use crate::sim::world::{Failure, World};

/// After a crash or a start that failed, on a copy of the disk: every log recovers, holds all that was committed, and
/// replays into the states that the live engines had. States beyond the end of the log are forgotten, since other
/// records will take their numbers.
pub(super) fn check_replay(world: &mut World) -> Result<(), Failure> {
    let copy: SharedDisk = Arc::new(Mutex::new(lock(&world.disk).with_archive()));
    for partition in 0..world.swarm.partitions {
        let end = replay(world, &copy, partition)?;
        let committed = world.committed[partition as usize];
        if end < committed {
            return Err(format!(
                "C1: partition {partition} had committed {committed}, after the crash its log ends at {end}"
            ));
        }
        world.hashes[partition as usize].retain(|at, _| *at <= end);
    }
    Ok(())
}

/// Replays one partition, comparing state hashes; returns the end of its log.
fn replay(world: &mut World, disk: &SharedDisk, partition: u32) -> Result<u64, Failure> {
    let mut engine = Engine::new(PartitionId(partition), Limits::default());
    let hashes = &world.hashes[partition as usize];
    let mut compared = 0;
    let result = recover(
        &mut SimVolume::new(Arc::clone(disk)),
        log_config(&world.plan, world.seed, partition),
        (Lsn(0), &SegmentTable::default()),
        &mut |scanned| {
            let Scanned::Record(record) = scanned else {
                return Ok(());
            };
            engine
                .replay(record.lsn, record.time, record.kind, record.payload)
                .map_err(|error| error.to_string())?;
            let end = record.lsn.0 + 1;
            if let Some(live) = hashes.get(&end) {
                compared += 1;
                let replayed = engine.state_hash();
                if *live != replayed {
                    return Err(format!(
                        "at end {end} the live state was {live:x}, replayed {replayed:x}"
                    ));
                }
            }
            Ok(())
        },
    );
    world.met.hash_compared += compared;
    match result {
        Ok((_, recovery)) => Ok(recovery.end.0),
        Err(error) => Err(format!("partition {partition} does not recover: {error}")),
    }
}

/// On copies of the disk on which something is damaged.
pub(super) fn check_damage(world: &mut World) -> Result<(), Failure> {
    if !world.nemesis.chance(world.swarm.rot) {
        return Ok(());
    }
    let partition = world.nemesis.below(u64::from(world.swarm.partitions)) as u32;
    check_rot(world, partition)?;
    (0..world.swarm.partitions).try_for_each(|partition| check_older_checkpoint(world, partition))
}

/// If the newest checkpoint is damaged, the one before leads to the same state, and nothing that it needs is gone.
fn check_older_checkpoint(world: &mut World, partition: u32) -> Result<(), Failure> {
    let newest: SharedDisk = Arc::new(Mutex::new(lock(&world.disk).snapshot()));
    let older: SharedDisk = Arc::new(Mutex::new(lock(&world.disk).snapshot()));
    if !rot::spoil_newest_checkpoint(&mut lock(&older), partition) {
        return Ok(());
    }
    let open = |disk: &SharedDisk| {
        let opened = open_partition(
            &mut SimVolume::new(Arc::clone(disk)),
            log_config(&world.plan, world.seed, partition),
            Limits::default(),
        );
        match opened.map(|opened| opened.start.state) {
            Ok(PartitionState::Ready(ready)) => Ok(ready),
            Ok(PartitionState::Damaged { reason, .. }) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    };
    let Ok(expected) = open(&newest) else {
        // The start that follows says why.
        return Ok(());
    };
    let says = |reason: &str| format!("older checkpoint of partition {partition}: {reason}");
    let found = open(&older).map_err(|reason| says(&reason))?;
    if found.is_partly_damaged {
        return Err(says("a segment that it needs is gone"));
    }
    if found.engine.state_hash() != expected.engine.state_hash() {
        return Err(says("it leads to another state"));
    }
    world.met.older_checkpoint += 1;
    Ok(())
}

/// On a copy of the disk in which one attested byte has rotted: recovery refuses and changes nothing, unless a checkpoint
/// holds all that it would have to read.
fn check_rot(world: &mut World, partition: u32) -> Result<(), Failure> {
    let copy: SharedDisk = Arc::new(Mutex::new(lock(&world.disk).snapshot()));
    let Some(rot) = rot::spoil(&mut lock(&copy), partition) else {
        return Ok(());
    };
    let before = lock(&copy).fingerprint(partition);
    let opened = open_partition(
        &mut SimVolume::new(Arc::clone(&copy)),
        log_config(&world.plan, world.seed, partition),
        Limits::default(),
    );
    let state = match opened {
        Ok(opened) => opened.start.state,
        Err(error) => return Err(format!("rot: {rot:?}: {error}")),
    };
    if let PartitionState::Ready(ready) = state {
        let end = ready.log.end();
        if ready.checkpoint.is_some() && end.0 >= world.committed[partition as usize] {
            // A start does not read what lies below its checkpoint, and loses nothing by that.
            world.met.damage_below_checkpoint += 1;
            return Ok(());
        }
        return Err(format!(
            "rot: {rot:?} was taken for a torn tail, the log ends at {end}"
        ));
    }
    if lock(&copy).fingerprint(partition) != before {
        return Err(format!("rot: {rot:?}: recovery changed a damaged log"));
    }
    world.met.damage_found += 1;
    world.met.damage_by_seal += u64::from(rot.is_attested_by_seal_alone);
    Ok(())
}

/// The end of a seed: the power goes, all that is unsynced is lost, and the logs are held against the history.
pub(super) fn pass(world: &mut World) -> Result<(), Failure> {
    let mut copy = lock(&world.disk).with_archive();
    copy.faults.sector_lost = Ppm(1_000_000);
    copy.faults.sector_torn = Ppm(0);
    copy.lose_everything_unsynced();
    copy.stop(Stop::PowerLoss);
    let copy: SharedDisk = Arc::new(Mutex::new(copy));
    let mut logs = BTreeMap::new();
    for partition in 0..world.swarm.partitions {
        replay(world, &copy, partition)?;
        let evidence = testify(world, &copy, partition)?;
        world.met.lease_expired += evidence.met.expired;
        world.met.lease_released += evidence.met.released;
        world.met.delayed += evidence.met.delayed;
        world.met.relocated += evidence.met.relocated;
        world.met.redelivered_after_crash += evidence.met.again_in_later_epoch;
        let segments = lock(&copy).segments(partition);
        world.met.segment_rolled += segments.saturating_sub(1);
        logs.insert(partition, evidence);
    }
    world
        .checker
        .observe(&History::Drained)
        .map_err(|violation| violation.to_string())?;
    judge(&world.checker, &logs, &world.plan.names).map_err(|violation| violation.to_string())
}

/// Reads one partition's log into the checker's own model.
fn testify(world: &World, disk: &SharedDisk, partition: u32) -> Result<Evidence, Failure> {
    let mut evidence = Evidence::default();
    let result = recover(
        &mut SimVolume::new(Arc::clone(disk)),
        log_config(&world.plan, world.seed, partition),
        (Lsn(0), &SegmentTable::default()),
        &mut |scanned| {
            let Scanned::Record(record) = scanned else {
                return Ok(());
            };
            let entry = decode(&record)?;
            let verdict = evidence.observe(&entry);
            verdict.map_err(|violation| format!("{violation}; {:?}", entry.record))
        },
    );
    match result {
        Ok(_) => Ok(evidence),
        Err(RecoverError::Replay { lsn, reason }) => {
            Err(format!("partition {partition}, lsn {lsn}: {reason}"))
        }
        Err(error) => Err(format!("partition {partition} does not recover: {error}")),
    }
}

fn decode<'a>(record: &RecordView<'a>) -> Result<LogRecord<'a>, String> {
    let decoded = Record::decode(record.kind, record.head()).map_err(|error| error.to_string())?;
    Ok(LogRecord {
        lsn: record.lsn,
        epoch: record.epoch,
        time: record.time,
        record: decoded,
        batch: record.batch(),
    })
}
