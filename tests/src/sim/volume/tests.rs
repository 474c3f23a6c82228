use std::sync::{Arc, Mutex};

use corelane_storage::{
    CheckpointConfig, CheckpointMeta, CheckpointWriter, ChunkReader, open_checkpoints,
};
use corelane_wire::{ChunkPlace, Lsn};

use super::*;
use crate::sim::disk::Stop;
use crate::sim::random::Ppm;
use crate::sim::swarm::DiskFaults;

const CONFIG: CheckpointConfig = CheckpointConfig {
    partition: PartitionId(2),
    log_id: 11,
};

/// Chunk `key` of generation `version`.
fn chunk(key: usize, version: u64) -> Vec<u8> {
    format!("chunk {key} of {version} ")
        .repeat(40 + key * 13)
        .into_bytes()
}

/// Writes a checkpoint in which every third chunk is new; the places as far as it got.
fn write(
    volume: &mut SimVolume,
    previous: Option<&(CheckpointMeta, Vec<ChunkPlace>)>,
    version: u64,
) -> io::Result<(CheckpointMeta, Vec<ChunkPlace>)> {
    let mut writer = CheckpointWriter::begin(volume, CONFIG, previous.map(|(meta, _)| meta))?;
    let mut places = Vec::new();
    for key in 0..60 {
        places.push(match previous {
            Some((_, before)) if key as u64 % 3 != version % 3 => writer.keep(before[key])?,
            _ => writer.put(&chunk(key, version))?,
        });
    }
    Ok((writer.finish(&[], Lsn(version), &[])?, places))
}

/// Power losses within every operation, with sectors kept, lost and torn: what was reported as finished is there with
/// all its chunks, and of what was not, either it or the one before.
#[test]
fn a_finished_checkpoint_survives_power_losses() {
    let faults = DiskFaults {
        sector_lost: Ppm(400_000),
        sector_torn: Ppm(300_000),
        ..DiskFaults::default()
    };
    let (mut finished, mut cut) = (0, 0);
    for seed in 0..60 {
        let disk = Arc::new(Mutex::new(Disk::new(seed, faults.clone())));
        let mut volume = SimVolume::new(Arc::clone(&disk));
        let mut durable = write(&mut volume, None, 0).unwrap();
        for version in 1..20 {
            lock(&disk).set_fuse(Some(1 + (seed * 5 + version * 7) as u32 % 14));
            let written = write(&mut volume, Some(&durable), version);
            lock(&disk).stop(Stop::PowerLoss);
            let open = open_checkpoints(&volume, &CONFIG).unwrap();
            assert!(open.refused.is_empty(), "seed {seed}: {:?}", open.refused);
            let newest = open.found[0].meta();
            match written {
                Ok((meta, places)) => {
                    assert_eq!(*newest, meta, "seed {seed}");
                    durable = (meta, places);
                    finished += 1;
                }
                // Published in the moment in which the power went: its places are not known, the next one is above.
                Err(_) if newest.generation > durable.0.generation => {
                    assert_eq!(*open.found[1].meta(), durable.0, "seed {seed}");
                    cut += 1;
                }
                Err(_) => {
                    assert_eq!(*newest, durable.0, "seed {seed}");
                    cut += 1;
                }
            }
            let mut reader = ChunkReader::new(CONFIG.partition);
            for (key, place) in durable.1.iter().enumerate() {
                let text = reader.read(&volume, *place).unwrap();
                assert!(text.starts_with(format!("chunk {key} of ").as_bytes()));
            }
        }
    }
    assert!(
        finished > 100 && cut > 100,
        "{finished} finished, {cut} cut"
    );
}
