//! The floors, sampled before and after the load that they stand beside.

use std::path::Path;

use anyhow::Result;
use corelane_bench::probe::{DiskProbe, EchoProbe, Way};
use corelane_bench::record::Latencies;
use corelane_wire::{
    BatchBuilder, Correlation, Enqueue, Lane, OutgoingMessage, ProducerId, Request, Sequence,
};

use crate::steady;

/// Samples of each floor in one go.
const SAMPLES: u32 = 1500;

/// What a commit and an echo cost without a broker.
#[derive(Debug)]
pub(crate) struct Floors {
    disk_probe: DiskProbe,
    echo_probe: EchoProbe,
    pub(crate) commit: Latencies,
    pub(crate) echo: Latencies,
    pub(crate) frame_bytes: usize,
}

impl Floors {
    /// Prepares both probes, on the disk of `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let frame_bytes = enqueue_frame_bytes()?;
        Ok(Self {
            disk_probe: DiskProbe::new(folder)?,
            echo_probe: EchoProbe::new(frame_bytes, None)?,
            commit: Latencies::default(),
            echo: Latencies::default(),
            frame_bytes,
        })
    }

    /// Whether the commits go past the page cache, as the broker's do.
    pub(crate) const fn is_direct(&self) -> bool {
        self.disk_probe.is_direct()
    }

    /// Takes another round of samples, at the rate of the load.
    pub(crate) fn sample(&mut self, per_second: u32) -> Result<()> {
        let commit = self.disk_probe.run_at(Way::Blocking, SAMPLES, per_second)?;
        self.commit.add(&commit);
        self.echo.add(&self.echo_probe.run(SAMPLES, per_second)?);
        Ok(())
    }
}

/// Length of the frame in which the load sends one message.
fn enqueue_frame_bytes() -> Result<usize> {
    let mut builder = BatchBuilder::new();
    builder.push(&OutgoingMessage {
        key: None,
        headers: &[],
        due_ms: None,
        ttl_ms: None,
        body: &steady::body(0),
    })?;
    let batch = builder.finish(ProducerId(1), Sequence(0));
    let request = Request::Enqueue(Enqueue {
        queue: steady::QUEUE,
        lane: Lane(0),
        batch: &batch,
    });
    let mut frame = Vec::new();
    request.encode(Correlation(1), &mut frame);
    Ok(frame.len())
}
