//! The driver below the shard: connections in memory, and the disk of the simulation.
//!
//! Operations of the disk advance one half at a time, some of those in flight with each wait, so that a commit, the
//! making of a spare and a read are in all orders. Each may be the one that fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelane::driver::{Data, Done, Driver, Errno, File, Op, RecvBuffer, Socket, Token};
use corelane_wire::Timestamp;

use super::written::{self, Written};
use crate::sim::disk::FileName;
use crate::sim::disk_flight::{Fate, Flight, Step, Work, WriteWork};
use crate::sim::driver::{SharedDisk, lock};
use crate::sim::random::{Concern, Random};

/// The operation that fails, by its number, and how, if it is a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) call: u64,
    pub(super) fate: Fate,
}

/// The driver of the one shard.
pub(super) struct TapeDriver {
    /// Node time.
    pub(super) now: Timestamp,
    /// The records of all writes, by their lsn, if those of a new log are noted.
    pub(super) written: Option<Vec<Written>>,
    /// The lsn of the first of them.
    pub(super) written_from: u64,
    /// Operations of the disk so far.
    pub(super) calls: u64,
    /// The one that fails.
    pub(super) fault: Option<Fault>,
    /// What the disk does is done with the next wait.
    pub(super) is_eager: bool,
    disk: SharedDisk,
    random: Random,
    accept: Option<Token>,
    sockets: BTreeMap<Socket, Pipes>,
    connected: u32,
    /// Completions for the next wait.
    ended: Vec<Done>,
    flights: Vec<Flight>,
    files: Vec<FileName>,
}

/// Both directions of a connection.
#[derive(Default)]
struct Pipes {
    recv: Option<Token>,
    to_node: Vec<u8>,
    to_client: Vec<u8>,
}

impl TapeDriver {
    pub(super) fn new(disk: SharedDisk, now: Timestamp, seed: u64) -> Self {
        Self {
            now,
            written: None,
            written_from: 0,
            calls: 0,
            fault: None,
            is_eager: false,
            disk,
            random: Random::stream(seed, Concern::Schedule),
            accept: None,
            sockets: BTreeMap::new(),
            connected: 0,
            ended: Vec::new(),
            flights: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Whether a wait would bring something.
    pub(super) fn is_busy(&self) -> bool {
        let mut sockets = self.sockets.values();
        !self.ended.is_empty()
            || !self.flights.is_empty()
            || sockets.any(|pipes| pipes.recv.is_some() && !pipes.to_node.is_empty())
    }

    /// A client connects; `None` while the shard does not accept.
    pub(super) fn connect(&mut self) -> Option<Socket> {
        let token = self.accept?;
        let socket = Socket(self.connected);
        self.connected += 1;
        self.sockets.insert(socket, Pipes::default());
        self.ended.push(Done {
            token,
            result: Ok(0),
            more: true,
            data: Data::Socket(socket),
        });
        Some(socket)
    }

    /// A client hangs up.
    pub(super) fn hang_up(&mut self, socket: Socket) {
        if let Some(token) = self.recv_of(socket) {
            self.end(token, Ok(0), Data::None);
        }
    }

    /// A client sends; false if the node has closed the connection.
    pub(super) fn put(&mut self, socket: Socket, bytes: &[u8]) -> bool {
        let pipes = self.sockets.get_mut(&socket);
        if let Some(pipes) = pipes {
            pipes.to_node.extend_from_slice(bytes);
            return true;
        }
        false
    }

    /// A client reads all there is.
    pub(super) fn take(&mut self, socket: Socket) -> Vec<u8> {
        let pipes = self.sockets.get_mut(&socket);
        pipes.map_or_else(Vec::new, |pipes| std::mem::take(&mut pipes.to_client))
    }

    fn recv_of(&mut self, socket: Socket) -> Option<Token> {
        self.sockets.get_mut(&socket)?.recv.take()
    }

    /// Ends an operation with the next wait.
    fn end(&mut self, token: Token, result: Result<usize, Errno>, data: Data) {
        self.ended.push(Done {
            token,
            result,
            more: false,
            data,
        });
    }

    /// Counts an operation of the disk; its fate if it is the one that fails.
    fn count(&mut self) -> Option<Fate> {
        self.calls += 1;
        self.fault
            .filter(|fault| fault.call == self.calls)
            .map(|fault| fault.fate)
    }

    fn launch(&mut self, token: Token, work: Work) {
        self.flights.push(Flight {
            shard: 0,
            token,
            work,
        });
    }

    fn file(&self, file: File) -> FileName {
        self.files[file.0 as usize].clone()
    }

    fn submit_write(&mut self, token: Token, work: WriteWork) {
        let bytes = &work.buffer.as_slice()[..work.bytes];
        if let Some(written) = &mut self.written
            && let Some((first, records)) = written::records(work.position, bytes)
        {
            let end = self.written_from + written.len() as u64;
            assert_eq!(end, first, "blocks come in order");
            written.extend(records);
        }
        self.launch(token, Work::Write(work));
    }

    fn submit_to_disk(&mut self, token: Token, op: Op) {
        let fate = self.count();
        let fails = fate.is_some();
        match op {
            Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let work = WriteWork {
                    name: self.file(file),
                    position,
                    buffer,
                    bytes,
                    durable,
                    fate: fate.unwrap_or(Fate::Good),
                };
                self.submit_write(token, work);
            }
            Op::Read {
                file,
                position,
                buffer,
                bytes,
            } => {
                let name = self.file(file);
                let read = Work::Read {
                    name,
                    position,
                    buffer,
                    bytes,
                    fails,
                };
                self.launch(token, read);
            }
            Op::OpenSegment { partition, segment } => {
                let name = FileName::Segment(partition.0, segment.0);
                let exists = lock(&self.disk).exists(&name) && !fails;
                let file = self.files.len() as u32;
                self.files.push(name);
                self.launch(token, Work::Open { file, exists });
            }
            Op::Housekeeping(chore) => self.launch(token, Work::Housekeeping { chore, fails }),
            Op::Accept { .. }
            | Op::Recv { .. }
            | Op::Send { .. }
            | Op::Close { .. }
            | Op::CloseFile { .. }
            | Op::Wake { .. } => unreachable!("no operation of the disk: {op:?}"),
        }
    }

    /// Some of what is in flight goes on, in any order.
    fn advance(&mut self) {
        let mut waiting = std::mem::take(&mut self.flights);
        while !waiting.is_empty() {
            let index = self.random.index(waiting.len());
            let flight = waiting.swap_remove(index);
            if !self.is_eager && self.random.one_in(2) {
                self.flights.push(flight);
                continue;
            }
            match flight.advance(&self.disk) {
                Step::Again(flight, _) if self.is_eager => waiting.push(flight),
                Step::Again(flight, _) => self.flights.push(flight),
                Step::Done(_, done) => self.ended.push(done),
            }
        }
    }
}

impl Driver for TapeDriver {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        let at_once = Done {
            token,
            result: Ok(0),
            more: false,
            data: Data::None,
        };
        match op {
            Op::Accept { .. } => self.accept = Some(token),
            Op::Recv { socket } => {
                self.sockets.entry(socket).or_default().recv = Some(token);
            }
            Op::Send { socket, buffer } => {
                if let Some(pipes) = self.sockets.get_mut(&socket) {
                    pipes.to_client.extend_from_slice(&buffer);
                }
                self.end(token, Ok(buffer.len()), Data::Sent(buffer));
            }
            Op::Close { socket } => {
                self.sockets.remove(&socket);
                return Some(at_once);
            }
            Op::CloseFile { .. } | Op::Wake { .. } => return Some(at_once),
            op @ (Op::Write { .. }
            | Op::Read { .. }
            | Op::OpenSegment { .. }
            | Op::Housekeeping(_)) => self.submit_to_disk(token, op),
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        let of_socket = self
            .sockets
            .values_mut()
            .find_map(|pipes| pipes.recv.take_if(|armed| *armed == token));
        if of_socket
            .or_else(|| self.accept.take_if(|armed| *armed == token))
            .is_some()
        {
            self.end(token, Err(Errno::CANCELED), Data::None);
        }
    }

    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.advance();
        done.append(&mut self.ended);
        for pipes in self.sockets.values_mut() {
            let Some(token) = pipes.recv.filter(|_| !pipes.to_node.is_empty()) else {
                continue;
            };
            let bytes = std::mem::take(&mut pipes.to_node);
            done.push(Done {
                token,
                result: Ok(bytes.len()),
                more: true,
                data: Data::Received(RecvBuffer::Owned(bytes)),
            });
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Owned(bytes) => bytes,
            RecvBuffer::Pool { .. } => panic!("no buffer was lent from a pool"),
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        drop(buffer);
    }
}

impl std::fmt::Debug for TapeDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapeDriver")
            .field("calls", &self.calls)
            .field("flights", &self.flights)
            .finish_non_exhaustive()
    }
}

/// A copy of a disk that nobody shares yet.
pub(super) fn shared(disk: crate::sim::disk::Disk) -> SharedDisk {
    Arc::new(std::sync::Mutex::new(disk))
}
