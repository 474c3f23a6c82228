//! The engine with its disk: the log, the checkpoints, and what was asked to be read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelane_core::{
    ChunkSink, Cut, Engine, FetchFor, Input, Limits, Output, QueueId, Record, Run,
};
use corelane_wire::{
    Batch, ChunkPlace, Epoch, Lsn, Offset, PartitionId, Request, Timestamp, checksum,
};

/// One engine, and what it has left on its disk.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) now: u64,
    limits: Limits,
    log: Vec<Written>,
    chunks: Chunks,
    cut: Option<Cut>,
    /// What the engine asked to be read.
    pub(super) loads: VecDeque<(QueueId, Offset, ChunkPlace)>,
    /// Records that the engine wants to see, and what for.
    pub(super) fetches: VecDeque<(FetchFor, Lsn, Offset)>,
    /// The end of the last flush that was asked for.
    pub(super) flushed: u64,
    /// When the first record was appended that no flush covers.
    pub(super) unflushed: Option<u64>,
    /// Everything below survives a crash.
    pub(super) kept: u64,
}

/// A record as it lies in the log.
#[derive(Debug)]
struct Written {
    time: Timestamp,
    kind: u8,
    head: Vec<u8>,
    messages: Option<Messages>,
}

/// The messages behind a record.
#[derive(Debug)]
struct Messages {
    queue: usize,
    first: u64,
    count: u32,
    batch: Vec<u8>,
}

/// From what an engine starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartFrom {
    Log,
    Checkpoint,
    OlderCheckpoint,
}

impl Node {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            engine: Engine::new(PartitionId(0), limits),
            now: 1_780_000_000_000_000_000,
            limits,
            log: Vec::new(),
            chunks: Chunks::default(),
            cut: None,
            loads: VecDeque::new(),
            fetches: VecDeque::new(),
            flushed: 0,
            unflushed: None,
            kept: 0,
        }
    }

    /// One step; what the disk does of it is done, the rest is returned.
    pub(super) fn step(&mut self, input: Input<'_>) -> VecDeque<Output> {
        if let Input::Durable { end } = input {
            self.kept = end.0;
            let is_all = end == self.engine.positions().end;
            self.unflushed = self.unflushed.filter(|_| !is_all);
        }
        let mut outputs = VecDeque::new();
        self.engine.step(Timestamp(self.now), input, &mut outputs);
        let is_fetched = matches!(input, Input::Fetched { .. });
        let fetched = self.fetches.pop_front_if(|_| is_fetched);
        for output in &outputs {
            match output {
                Output::Append { time, record, .. } => {
                    self.unflushed.get_or_insert(self.now);
                    self.append(*time, record, &input, fetched);
                }
                Output::Flush { end } => {
                    self.flushed = end.0;
                    self.unflushed = None;
                }
                Output::Load {
                    queue,
                    first,
                    place,
                } => self.loads.push_back((*queue, *first, *place)),
                Output::Fetch { whose, lsn, first } => {
                    self.fetches.push_back((*whose, *lsn, *first));
                }
                Output::Reply { .. }
                | Output::Deliver(_)
                | Output::Letter(_)
                | Output::Abandon { .. } => {}
            }
        }
        let is_done = |output: &Output| {
            matches!(
                output,
                Output::Flush { .. } | Output::Load { .. } | Output::Fetch { .. }
            )
        };
        outputs.retain(|output| !is_done(output));
        outputs
    }

    fn append(
        &mut self,
        time: Timestamp,
        record: &Record,
        input: &Input<'_>,
        fetched: Option<(FetchFor, Lsn, Offset)>,
    ) {
        let mut head = Vec::new();
        record.encode_head(&mut head);
        let messages = match (record, input) {
            (
                Record::Enqueue {
                    queue,
                    first,
                    count,
                    ..
                },
                Input::Request {
                    request: Request::Enqueue(enqueue),
                    ..
                },
            ) => Some((queue, first, count, enqueue.batch.to_vec())),
            (
                Record::Relocate {
                    queue,
                    first,
                    count,
                    ..
                },
                Input::Fetched {
                    batch: Some(batch), ..
                },
            ) => {
                let (.., of) = fetched.expect("the engine asked for the batch");
                let batch = Batch::trusted(batch).expect("the batch was taken once");
                let index = u32::try_from(first.0 - of.0).expect("the message is in the batch");
                let mut part = Vec::new();
                batch
                    .part(index, *count)
                    .expect("the messages are in the batch")
                    .encode(&mut part);
                Some((queue, first, count, part))
            }
            _ => None,
        };
        self.log.push(Written {
            time,
            kind: record.kind(),
            head,
            messages: messages.map(|(queue, first, count, batch)| Messages {
                queue: queue.0 as usize,
                first: first.0,
                count: *count,
                batch,
            }),
        });
    }

    /// The queue of a run that lies where it says it does, in the committed part of the log.
    pub(super) fn queue_of(&self, run: &Run) -> Result<usize, String> {
        let is_committed = run.lsn < self.engine.positions().committed;
        let at = usize::try_from(run.lsn.0).unwrap_or(usize::MAX);
        let messages = self.log.get(at).filter(|_| is_committed);
        let messages = messages.and_then(|written| written.messages.as_ref());
        let messages = messages.ok_or_else(|| format!("{run:?} names no committed batch"))?;
        let is_there = messages.first + u64::from(run.index) == run.first.0
            && run.index + run.count <= messages.count;
        if !is_there {
            return Err(format!(
                "{run:?} is not in {}..+{}",
                messages.first, messages.count
            ));
        }
        Ok(messages.queue)
    }

    /// The batch of the first record that was asked for, and what for.
    pub(super) fn fetched(&self) -> Option<(FetchFor, Vec<u8>)> {
        let (whose, lsn, _) = self.fetches.front()?;
        Some((*whose, self.messages(*lsn)?.batch.clone()))
    }

    /// The queues of which keys are read.
    pub(super) fn reading(&self) -> impl Iterator<Item = usize> {
        let fetches = self.fetches.iter();
        let of_keys = fetches.filter(|(whose, ..)| *whose == FetchFor::Keys);
        of_keys.filter_map(|(_, lsn, _)| Some(self.messages(*lsn)?.queue))
    }

    fn messages(&self, lsn: Lsn) -> Option<&Messages> {
        let written = self.log.get(usize::try_from(lsn.0).ok()?)?;
        written.messages.as_ref()
    }

    /// The first chunk that was asked for, with what names it.
    pub(super) fn loaded(&mut self) -> Option<(QueueId, Offset, Option<Vec<u8>>)> {
        let (queue, first, place) = self.loads.pop_front()?;
        Some((queue, first, self.chunks.read(place).ok()))
    }

    /// Takes a cut; one that was not published is forgotten.
    pub(super) fn cut(&mut self) {
        self.cut = Some(self.engine.cut());
    }

    /// Publishes the cut if everything below it is committed.
    pub(super) fn publish(&mut self) -> bool {
        let committed = self.engine.positions().committed;
        let cut = self.cut.take_if(|cut| cut.end() <= committed);
        if let Some(cut) = &cut {
            self.chunks.checkpoint(cut);
        }
        cut.is_some()
    }

    /// Loses everything from `end` on, and recovers; says from what. The state must be that before the crash.
    pub(super) fn crash(&mut self, end: u64, from: StartFrom) -> Result<StartFrom, String> {
        let hash = self.engine.state_hash();
        let (whole, _) = self.recovered(StartFrom::Log)?;
        if whole.state_hash() != hash {
            return Err("live and replayed state differ".to_owned());
        }
        self.log
            .truncate(usize::try_from(end).unwrap_or(usize::MAX));
        let (engine, from) = self.recovered(from)?;
        if from != StartFrom::Log {
            let (whole, _) = self.recovered(StartFrom::Log)?;
            if whole.state_hash() != engine.state_hash() {
                return Err(format!("the state from {from:?} is not that of the log"));
            }
        }
        self.engine = engine;
        self.cut = None;
        self.loads.clear();
        self.fetches.clear();
        self.flushed = 0;
        self.unflushed = None;
        self.kept = end;
        Ok(from)
    }

    fn recovered(&self, from: StartFrom) -> Result<(Engine, StartFrom), String> {
        let mut generations = self.chunks.generations.iter().rev();
        let generation = match from {
            StartFrom::Log => None,
            StartFrom::Checkpoint => generations.next(),
            StartFrom::OlderCheckpoint => generations.nth(1),
        };
        let (mut engine, from) = match generation {
            Some(generation) => {
                let mut read = |place| self.chunks.read(place);
                let engine =
                    Engine::restore(PartitionId(0), self.limits, &generation.root, &mut read);
                (engine.map_err(|error| error.to_string())?, from)
            }
            None => (Engine::new(PartitionId(0), self.limits), StartFrom::Log),
        };
        let begin = engine.positions().end.0;
        let rest = (begin..).zip(&self.log[usize::try_from(begin).unwrap_or(usize::MAX)..]);
        let mut payload = Vec::new();
        for (lsn, written) in rest {
            payload.clear();
            payload.extend(&written.head);
            if written.messages.is_some() {
                payload.extend(b"the batch is not looked at");
            }
            let replayed = engine.replay(Lsn(lsn), written.time, written.kind, &payload);
            replayed.map_err(|error| error.to_string())?;
        }
        Ok((engine, from))
    }

    pub(super) const fn start(epoch: u64) -> Input<'static> {
        Input::Start {
            epoch: Epoch(epoch),
        }
    }
}

/// Files of chunks in memory, with the two newest checkpoints.
#[derive(Debug, Default)]
struct Chunks {
    files: BTreeMap<u32, Vec<Vec<u8>>>,
    generations: Vec<Generation>,
}

/// One checkpoint.
#[derive(Debug)]
struct Generation {
    root: Vec<u8>,
    files: BTreeSet<u32>,
}

/// A checkpoint that is being written.
struct Writing<'a> {
    chunks: &'a Chunks,
    file: u32,
    new: Vec<Vec<u8>>,
    files: BTreeSet<u32>,
}

impl ChunkSink for Writing<'_> {
    type Error = String;

    fn put(&mut self, chunk: &[u8]) -> Result<ChunkPlace, String> {
        self.new.push(chunk.to_vec());
        Ok(ChunkPlace {
            file: self.file,
            bytes: u32::try_from(chunk.len()).map_err(|error| error.to_string())?,
            position: self.new.len() as u64 - 1,
            crc: checksum(&[chunk]),
        })
    }

    /// Chunks of the oldest file are moved, so that it can go.
    fn keep(&mut self, place: ChunkPlace) -> Result<ChunkPlace, String> {
        let chunk = self.chunks.read(place)?;
        if place.file + 3 == self.file {
            return self.put(&chunk);
        }
        self.files.insert(place.file);
        Ok(place)
    }
}

impl Chunks {
    fn checkpoint(&mut self, cut: &Cut) {
        let file = self.files.last_key_value().map_or(0, |(last, _)| last + 1);
        let mut sink = Writing {
            chunks: self,
            file,
            new: Vec::new(),
            files: BTreeSet::from([file]),
        };
        let written = cut
            .write(&mut sink)
            .expect("chunks that are kept can be read");
        let (new, files) = (sink.new, sink.files);
        self.files.insert(file, new);
        let root = written.root.clone();
        self.generations.push(Generation { root, files });
        written.publish();
        let gone = self.generations.len().saturating_sub(2);
        self.generations.drain(..gone);
        let kept = &self.generations;
        self.files
            .retain(|file, _| kept.iter().any(|each| each.files.contains(file)));
    }

    fn read(&self, place: ChunkPlace) -> Result<Vec<u8>, String> {
        let at = usize::try_from(place.position).map_err(|error| error.to_string())?;
        let file = self.files.get(&place.file).ok_or("the file is gone")?;
        let chunk = file.get(at).ok_or("no chunk is there")?;
        if checksum(&[chunk]) != place.crc || chunk.len() != place.bytes as usize {
            return Err("another chunk is there".to_owned());
        }
        Ok(chunk.clone())
    }
}
