//! Looking at the files of a partition that no broker uses: every checkpoint, chunk by chunk, and the whole log.
//!
//! Called by `corelane log`. Changes nothing. A survey begins with the checkpoint that a start would take, and so
//! tells of the log what a start would.

use std::convert::Infallible;

use corelane_core::{ChunkSink, Engine, Limits};
use corelane_storage::{
    ChunkFault, ChunkReader, LogConfig, RecoverError, Surveyed, Volume, survey as survey_log,
};
use corelane_wire::{ChunkPlace, Lsn, PartitionId};

use crate::recovery::{begin, checkpoints, restore};

/// What is wrong with a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointFinding {
    /// The partition.
    pub partition: PartitionId,
    /// The generation whose file is damaged.
    pub file: u32,
    /// Where in the file: position and the position behind it; `None` if it is the file as a whole.
    pub bytes: Option<(u64, u64)>,
    /// What is wrong.
    pub fault: String,
}

/// What a survey of a partition came to.
#[derive(Clone, Debug)]
pub struct Surveying {
    /// The checkpoint that a start begins with: its generation, and the lsn behind it.
    pub checkpoint: Option<(u32, Lsn)>,
    /// What is wrong with checkpoints.
    pub checkpoints: Vec<CheckpointFinding>,
    /// The lsn behind the last record of the log.
    pub end: Lsn,
}

/// Reads everything that is kept of a partition; `visit` gets what the log holds, in its order.
///
/// # Errors
/// If files cannot be listed, or what `visit` says.
pub fn survey_partition(
    volume: &dyn Volume,
    config: &LogConfig,
    limits: Limits,
    visit: &mut dyn FnMut(Surveyed<'_>) -> Result<(), String>,
) -> Result<Surveying, RecoverError> {
    let begin = begin(volume, config, limits)?;
    let checkpoints = survey_checkpoints(volume, config, limits, &begin.refused)?;
    let covered = begin.engine.positions().end;
    let end = survey_log(volume, config, (covered, &begin.table), visit)?;
    Ok(Surveying {
        checkpoint: begin.checkpoint.map(|meta| (meta.generation, meta.end)),
        checkpoints,
        end,
    })
}

/// Both generations, with all their chunks.
pub(crate) fn survey_checkpoints(
    volume: &dyn Volume,
    config: &LogConfig,
    limits: Limits,
    refused: &[(u32, String)],
) -> Result<Vec<CheckpointFinding>, RecoverError> {
    let partition = config.partition;
    let of_file = |file, fault| CheckpointFinding {
        partition,
        file,
        bytes: None,
        fault,
    };
    let refused = refused.iter();
    let mut findings: Vec<_> = refused
        .map(|(generation, reason)| of_file(*generation, reason.clone()))
        .collect();
    for found in checkpoints(volume, config)?.found {
        let generation = found.meta().generation;
        match restore(volume, &found, partition, limits) {
            Ok((engine, _)) => check_chunks(volume, engine, &mut findings),
            Err(_) if findings.iter().any(|known| known.file == generation) => {}
            Err(reason) => findings.push(of_file(generation, reason)),
        }
    }
    Ok(findings)
}

/// Reads every chunk that a restored engine names, those that a start leaves on the disk too.
pub(crate) fn check_chunks(
    volume: &dyn Volume,
    mut engine: Engine,
    findings: &mut Vec<CheckpointFinding>,
) {
    let partition = engine.partition();
    let mut check = ChunkCheck {
        volume,
        reader: ChunkReader::new(partition),
        damaged: Vec::new(),
    };
    let Ok(_) = engine.cut().write(&mut check);
    for (place, fault) in check.damaged {
        let finding = CheckpointFinding {
            partition,
            file: place.file,
            bytes: Some((
                place.position,
                place.position.saturating_add(u64::from(place.bytes)),
            )),
            fault: fault.to_string(),
        };
        // Both generations may name it.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
}

/// A checkpoint is written to it, and what would be kept is read.
struct ChunkCheck<'v> {
    volume: &'v dyn Volume,
    reader: ChunkReader,
    damaged: Vec<(ChunkPlace, ChunkFault)>,
}

impl ChunkSink for ChunkCheck<'_> {
    type Error = Infallible;

    fn put(&mut self, chunk: &[u8]) -> Result<ChunkPlace, Infallible> {
        // What a restored state would write anew is read from nowhere.
        Ok(ChunkPlace {
            file: 0,
            bytes: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            position: 0,
            crc: 0,
        })
    }

    fn keep(&mut self, place: ChunkPlace) -> Result<ChunkPlace, Infallible> {
        if let Err(fault) = self.reader.read(self.volume, place) {
            self.damaged.push((place, fault));
        }
        Ok(place)
    }
}
