//! A driver that does what a test tells it, and a shard over it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use corelane_core::Limits;
use corelane_storage::{LogConfig, SpareId, Task};
use corelane_wire::{
    BatchBuilder, Correlation, Decoder, Enqueue, Hello, Lane, NodeId, OutgoingMessage, PartitionId,
    ProducerId, Request, Response, Sequence, Timestamp,
};

use super::super::*;
use crate::driver::{Chore, File, Op, RecvBuffer, Socket, Token};
use crate::mail::mailboxes;
use crate::router::ShardPlace;

/// Sends, opens and housekeeping succeed at once; writes wait for the test.
pub(super) struct Script {
    pub(super) now: Timestamp,
    pub(super) accept: Option<Token>,
    pub(super) receives: BTreeMap<Socket, Token>,
    pub(super) writes: Vec<(Token, Op)>,
    /// While set, sends wait for the test: a client that does not read.
    pub(super) holds_sends: bool,
    pub(super) held: Vec<(Token, Socket, Vec<u8>)>,
    pub(super) sent: BTreeMap<Socket, Vec<u8>>,
    pub(super) closed: Vec<Socket>,
    pub(super) woken: u32,
    pub(super) done: Vec<Done>,
    pub(super) timeout: Duration,
    /// While set, no spare can be made.
    pub(super) is_full: bool,
    /// The segment that cannot be installed.
    pub(super) fails_to_install: Option<u32>,
    pub(super) files: u32,
}

impl Driver for Script {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        let done = |result, data| Done {
            token,
            result,
            more: false,
            data,
        };
        match op {
            Op::Accept { .. } => self.accept = Some(token),
            Op::Recv { socket } => {
                let before = self.receives.insert(socket, token);
                assert!(before.is_none(), "K1: a second receive");
            }
            Op::Send { socket, buffer } => {
                if self.holds_sends {
                    self.held.push((token, socket, buffer));
                    return None;
                }
                self.sent.entry(socket).or_default().extend(&buffer);
                return Some(done(Ok(buffer.len()), Data::Sent(buffer)));
            }
            Op::Close { socket } => {
                let is_receiving = self.receives.contains_key(&socket);
                assert!(!is_receiving, "K2: closed with an armed receive");
                self.closed.push(socket);
                return Some(done(Ok(0), Data::None));
            }
            Op::OpenSegment { .. } => {
                self.files += 1;
                return Some(done(Ok(0), Data::File(File(self.files))));
            }
            Op::Write { .. } => self.writes.push((token, op)),
            Op::Read { buffer, .. } => {
                return Some(done(Err(crate::driver::Errno::IO), Data::Block(buffer)));
            }
            Op::Wake { .. } => {
                self.woken += 1;
                return Some(done(Ok(0), Data::None));
            }
            Op::Housekeeping(Chore::Task(Task::MakeSpare { .. })) if self.is_full => {
                return Some(done(Err(crate::driver::Errno::NO_SPACE), Data::None));
            }
            Op::Housekeeping(Chore::Task(Task::Install { segment, .. }))
                if self.fails_to_install == Some(segment.0) =>
            {
                return Some(done(Err(crate::driver::Errno::IO), Data::None));
            }
            Op::Housekeeping(_) | Op::CloseFile { .. } => {
                return Some(done(Ok(0), Data::None));
            }
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        self.receives.retain(|_, other| *other != token);
        if self.accept == Some(token) {
            self.accept = None;
        }
        self.done.push(Done {
            token,
            result: Err(crate::driver::Errno::CANCELED),
            more: false,
            data: Data::None,
        });
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.timeout = timeout.expect("a shard never waits for ever");
        done.append(&mut self.done);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Owned(bytes) => bytes,
            RecvBuffer::Pool { .. } => panic!("the script has no pool"),
        }
    }

    fn recycle(&mut self, _: RecvBuffer) {}
}

/// The shards of a node, and its clients.
pub(super) struct World {
    pub(super) shards: Vec<Shard<Script>>,
    pub(super) shutdown: Arc<Shutdown>,
    /// The most that ever waited to be sent to one client, looked at after every turn.
    pub(super) out_bytes_max: usize,
    sockets: u32,
}

impl World {
    pub(super) fn new(shards: u16) -> Self {
        Self::with_partitions(shards, u32::from(shards))
    }

    pub(super) fn with_partitions(shards: u16, partitions: u32) -> Self {
        let topology = Arc::new(Topology {
            node: NodeId(1),
            partitions,
            shards: vec![ShardPlace { port: 0 }; usize::from(shards)],
            shared_port: 0,
        });
        let shutdown = Arc::new(Shutdown::new(shards));
        let shards = mailboxes(shards)
            .into_iter()
            .map(|mailboxes| shard(&topology, mailboxes, Arc::clone(&shutdown)))
            .collect();
        let mut world = Self {
            shards,
            shutdown,
            out_bytes_max: 0,
            sockets: 0,
        };
        world.settle();
        world
    }

    pub(super) fn driver(&mut self, shard: usize) -> &mut Script {
        self.shards[shard].driver_mut()
    }

    /// Some turns of every shard.
    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            for shard in 0..self.shards.len() {
                self.turn(shard);
            }
        }
    }

    /// One turn of one shard.
    pub(super) fn turn(&mut self, shard: usize) {
        let shard = &mut self.shards[shard];
        shard.turn().unwrap();
        let connections = shard.state.outlets.connections.iter();
        let out_bytes = connections.map(|(_, connection)| connection.out_bytes());
        self.out_bytes_max = self.out_bytes_max.max(out_bytes.max().unwrap_or(0));
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        for shard in &mut self.shards {
            let driver = shard.driver_mut();
            driver.now = driver.now.add(duration);
        }
        self.settle();
    }

    /// A connection that said nothing yet.
    pub(super) fn connect(&mut self, shard: usize) -> Socket {
        self.sockets += 1;
        let socket = Socket(self.sockets);
        let driver = self.driver(shard);
        driver.done.push(Done {
            token: driver.accept.expect("the shard accepts"),
            result: Ok(0),
            more: true,
            data: Data::Socket(socket),
        });
        self.settle();
        socket
    }

    /// A connection that has greeted.
    pub(super) fn greeted(&mut self, shard: usize) -> Socket {
        let socket = self.connect(shard);
        let hello = Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session: SessionId::NONE,
            resume: false,
            client_name: "test",
            tenant: "",
            token: &[],
        });
        self.request(shard, socket, 0, &hello);
        let answers = self.answers(shard, socket);
        assert!(
            matches!(answers[..], [(0, Response::Hello(_))]),
            "{answers:?}"
        );
        socket
    }

    pub(super) fn receive(&mut self, shard: usize, socket: Socket, bytes: Vec<u8>) {
        let driver = self.driver(shard);
        driver.done.push(Done {
            token: driver.receives[&socket],
            result: Ok(bytes.len()),
            more: true,
            data: Data::Received(RecvBuffer::Owned(bytes)),
        });
    }

    pub(super) fn request(&mut self, shard: usize, socket: Socket, number: u64, of: &Request<'_>) {
        let mut bytes = Vec::new();
        of.encode(Correlation(number), &mut bytes);
        self.receive(shard, socket, bytes);
        self.settle();
    }

    pub(super) fn enqueue(&mut self, shard: usize, socket: Socket, number: u64, queue: &str) {
        self.enqueue_body(shard, socket, number, (queue, &number.to_le_bytes()));
    }

    pub(super) fn enqueue_body(
        &mut self,
        shard: usize,
        socket: Socket,
        number: u64,
        (queue, body): (&str, &[u8]),
    ) {
        let mut batch = BatchBuilder::new();
        let message = OutgoingMessage {
            body,
            ..OutgoingMessage::default()
        };
        batch.push(&message).unwrap();
        let batch = batch.finish(ProducerId::NONE, Sequence(0));
        let enqueue = Request::Enqueue(Enqueue {
            queue,
            lane: Lane(0),
            batch: &batch,
        });
        self.request(shard, socket, number, &enqueue);
    }

    /// What was sent to a client since the last look, with the correlations.
    pub(super) fn answers(
        &mut self,
        shard: usize,
        socket: Socket,
    ) -> Vec<(u64, Response<'static>)> {
        let sent = self.driver(shard).sent.remove(&socket).unwrap_or_default();
        let mut chunk: &'static [u8] = sent.leak();
        let decoder = Box::leak(Box::new(Decoder::new(1 << 21)));
        let mut answers = Vec::new();
        while let Some(frame) = decoder.next(&mut chunk).unwrap() {
            let bytes: &'static [u8] = frame.bytes.to_vec().leak();
            let (frame, _) = corelane_wire::Frame::read(bytes, 1 << 21).unwrap().unwrap();
            answers.push((frame.correlation.0, Response::decode(&frame).unwrap()));
        }
        answers
    }

    /// The clients of a shard read again: what was held leaves, one send after the other.
    pub(super) fn release_sends(&mut self, shard: usize) {
        self.driver(shard).holds_sends = false;
        self.read_once(shard);
    }

    /// The clients of a shard read what is under way to them.
    pub(super) fn read_once(&mut self, shard: usize) {
        self.finish_sends(shard);
        self.settle();
    }

    /// The same before any shard has a turn.
    pub(super) fn finish_sends(&mut self, shard: usize) {
        let driver = self.driver(shard);
        for (token, socket, buffer) in std::mem::take(&mut driver.held) {
            driver.sent.entry(socket).or_default().extend(&buffer);
            driver.done.push(Done {
                token,
                result: Ok(buffer.len()),
                more: false,
                data: Data::Sent(buffer),
            });
        }
    }

    /// Ends the writes in flight on a shard.
    pub(super) fn finish_writes(&mut self, shard: usize, is_well: bool) -> usize {
        let driver = self.driver(shard);
        let writes = std::mem::take(&mut driver.writes);
        let count = writes.len();
        for (token, op) in writes {
            let Op::Write { buffer, bytes, .. } = op else {
                panic!("only writes wait")
            };
            driver.done.push(Done {
                token,
                result: if is_well {
                    Ok(bytes)
                } else {
                    Err(crate::driver::Errno::IO)
                },
                more: false,
                data: Data::Block(buffer),
            });
        }
        self.settle();
        count
    }
}

fn shard(topology: &Arc<Topology>, mailboxes: Mailboxes, shutdown: Arc<Shutdown>) -> Shard<Script> {
    let id = mailboxes.shard();
    let number = u32::from(id.0);
    let step = u32::from(topology.shard_count());
    let partitions = (number..topology.partitions).step_by(usize::from(topology.shard_count()));
    let config = |partition| LogConfig::new(partition, 7);
    let driver = Script {
        now: Timestamp::from_millis(1_700_000_000_000),
        accept: None,
        receives: BTreeMap::new(),
        writes: Vec::new(),
        holds_sends: false,
        held: Vec::new(),
        sent: BTreeMap::new(),
        closed: Vec::new(),
        woken: 0,
        done: Vec::new(),
        timeout: Duration::ZERO,
        is_full: false,
        fails_to_install: None,
        files: 0,
    };
    let small = config(PartitionId(number)).first_segment_bytes;
    let mut drawn = u128::from(number) << 64;
    let start = ShardStart {
        mailboxes,
        partitions: partitions
            .clone()
            .map(PartitionId)
            .chain([topology.volatile_of(id)])
            .map(|partition| PartitionStart::unused(config(partition), Limits::default()))
            .collect(),
        listeners: vec![Listener(0)],
        spares: (number..)
            .step_by(step as usize)
            .map(|spare| (SpareId(spare), small))
            .take(2 * partitions.count())
            .collect(),
        stats: Arc::new(ShardStats::default()),
        shutdown,
        draw_session: Box::new(move || {
            drawn += 1;
            SessionId(drawn)
        }),
    };
    let config = ShardConfig {
        topology: Arc::clone(topology),
        epoch: Epoch(1),
        connections_max: 4,
        first_segment_bytes: small,
        checkpoints: CheckpointPace::default(),
        scrub: ScrubPace::daily(0),
        write_timeout: Duration::from_secs(10),
        server_name: String::from("corelane/test"),
    };
    Shard::new(config, driver, start)
}
