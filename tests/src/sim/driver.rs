//! The simulated driver: the seam through which an unchanged shard loop runs in virtual time.
//!
//! `wait` never blocks: it hands over what has completed and remembers when it wanted to end; the world calls the
//! shard again then, or when something completes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corelane::driver::{Chore, Data, Done, Driver, Errno, File, Op, RecvBuffer, Token};
use corelane_storage::{Buffer, Task};
use corelane_wire::Timestamp;

use crate::sim::clock::{MICROSECOND, MILLISECOND};
use crate::sim::disk::{Disk, FileName};
use crate::sim::disk_flight::{Flight, Step, Work, WriteWork};
use crate::sim::hub::Hub;
use crate::sim::network::Side;
use crate::sim::volume::SimVolume;

/// The disk, shared by drivers, recovery and the world.
pub type SharedDisk = Arc<Mutex<Disk>>;

/// Locks the disk; a panic elsewhere ends the process anyway.
pub fn lock(disk: &SharedDisk) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver of one simulated shard.
#[derive(Debug)]
pub struct SimDriver {
    hub: Rc<RefCell<Hub>>,
    disk: SharedDisk,
    shard: u16,
    pool: Vec<Option<Vec<u8>>>,
}

impl SimDriver {
    /// The driver of `shard`.
    pub fn new(hub: Rc<RefCell<Hub>>, disk: SharedDisk, shard: u16) -> Self {
        Self {
            hub,
            disk,
            shard,
            pool: Vec::new(),
        }
    }

    /// Turns a received buffer into one of the pool, so that a missing `recycle` or a stale index shows.
    fn pooled(&mut self, data: Data) -> Data {
        let Data::Received(RecvBuffer::Owned(bytes)) = data else {
            return data;
        };
        let len = bytes.len() as u32;
        let free = self.pool.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.pool.push(None);
            self.pool.len() - 1
        });
        assert!(index < POOL_BUFFERS_MAX, "receive buffers are not recycled");
        self.pool[index] = Some(bytes);
        Data::Received(RecvBuffer::Pool {
            index: index as u32,
            len,
        })
    }

    fn submit_write(&self, token: Token, name: FileName, write: PendingWrite) {
        let mut disk = lock(&self.disk);
        let work = WriteWork {
            name,
            position: write.position,
            buffer: write.buffer,
            bytes: write.bytes,
            durable: write.durable,
            fate: disk.fate(),
        };
        let delay = disk.latency();
        self.launch(token, Work::Write(work), delay);
    }

    fn submit_housekeeping(&self, token: Token, chore: Chore) {
        let mut disk = lock(&self.disk);
        let odds = match &chore {
            Chore::Task(Task::MakeSpare { .. }) | Chore::Checkpoint(_) => disk.faults.no_space,
            Chore::Task(
                Task::Install { .. } | Task::Retire { .. } | Task::RemoveSegment { .. },
            ) => disk.faults.write_error,
            Chore::ReadChunk { .. } | Chore::Scrub(_) => disk.faults.read_error,
        };
        let fails = disk.chance(odds);
        let delay = disk.latency() + disk.random().skewed(MICROSECOND, 50 * MILLISECOND);
        self.launch(token, Work::Housekeeping { chore, fails }, delay);
    }

    fn submit_read(&self, token: Token, name: FileName, read: PendingRead) {
        let mut disk = lock(&self.disk);
        let odds = disk.faults.read_error;
        let fails = disk.chance(odds);
        let delay = disk.latency();
        let work = Work::Read {
            name,
            position: read.position,
            buffer: read.buffer,
            bytes: read.bytes,
            fails,
        };
        self.launch(token, work, delay);
    }

    fn submit_open(&self, token: Token, partition: u32, segment: u32) {
        let mut hub = self.hub.borrow_mut();
        let exists = lock(&self.disk).exists(&FileName::Segment(partition, segment));
        let io = &mut hub.shards[usize::from(self.shard)];
        let file = io.next_file;
        io.next_file += 1;
        io.files.insert(file, (partition, segment));
        drop(hub);
        self.launch(token, Work::Open { file, exists }, 20 * MICROSECOND);
    }

    fn launch(&self, token: Token, work: Work, delay: u64) {
        let flight = Flight {
            shard: self.shard,
            token,
            work,
        };
        self.hub.borrow_mut().launch(flight, delay);
    }

    fn file_name(&self, file: File) -> FileName {
        let hub = self.hub.borrow();
        let (partition, segment) = hub.shards[usize::from(self.shard)]
            .files
            .get(&file.0)
            .copied()
            .expect("the loop uses only files that it opened");
        FileName::Segment(partition, segment)
    }

    fn submit_recv(&self, token: Token, socket: u32) {
        let mut hub = self.hub.borrow_mut();
        let state = hub
            .socket(self.shard, socket)
            .expect("the loop receives only on sockets that it accepted");
        assert!(state.recv.is_none(), "two receives armed on one socket");
        state.recv = Some(token);
        hub.deliver(self.shard, socket);
    }

    fn submit_close(&self, socket: u32) {
        let mut hub = self.hub.borrow_mut();
        if let Some(state) = hub.socket(self.shard, socket) {
            assert!(state.recv.is_none(), "closed with an armed receive");
            assert!(state.send.is_none(), "closed with a send in flight");
        }
        hub.close_socket(self.shard, socket);
    }

    fn submit_send(&self, token: Token, socket: u32, buffer: Vec<u8>) -> Option<Done> {
        let mut hub = self.hub.borrow_mut();
        let hub = &mut *hub;
        let link_id = hub
            .socket(self.shard, socket)
            .expect("the loop sends only on sockets that it accepted")
            .link;
        let link = hub.network.link(link_id);
        if link.reset {
            return Some(Done {
                token,
                result: Err(Errno::BROKEN_PIPE),
                more: false,
                data: Data::Sent(buffer),
            });
        }
        link.to_client.put(&buffer);
        hub.trace
            .note(&[7, u64::from(link_id.0), buffer.len() as u64]);
        hub.trace.note_bytes(&buffer);
        hub.pump(link_id, Side::Client);
        let is_through = hub.network.link(link_id).to_client.unsent_bytes() == 0;
        if is_through && hub.random.one_in(2) {
            return Some(Done {
                token,
                result: Ok(buffer.len()),
                more: false,
                data: Data::Sent(buffer),
            });
        }
        if let Some(state) = hub.socket(self.shard, socket) {
            assert!(state.send.is_none(), "two sends in flight on one socket");
            state.send = Some((token, buffer));
        }
        if is_through {
            hub.pump(link_id, Side::Client);
        }
        None
    }
}

/// Where and what a write op writes.
struct PendingWrite {
    position: u64,
    buffer: Buffer,
    bytes: usize,
    durable: bool,
}

/// Where and how much a read op reads.
struct PendingRead {
    position: u64,
    buffer: Buffer,
    bytes: usize,
}

impl Driver for SimDriver {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept { listener } => {
                self.hub.borrow_mut().accept(self.shard, listener.0, token);
            }
            Op::Recv { socket } => self.submit_recv(token, socket.0),
            Op::Send { socket, buffer } => return self.submit_send(token, socket.0, buffer),
            Op::Close { socket } => {
                self.submit_close(socket.0);
                return Some(finished(token));
            }
            Op::OpenSegment { partition, segment } => {
                self.submit_open(token, partition.0, segment.0);
            }
            Op::CloseFile { file } => {
                let mut hub = self.hub.borrow_mut();
                hub.shards[usize::from(self.shard)].files.remove(&file.0);
                return Some(finished(token));
            }
            Op::Read {
                file,
                position,
                buffer,
                bytes,
            } => {
                let read = PendingRead {
                    position,
                    buffer,
                    bytes,
                };
                self.submit_read(token, self.file_name(file), read);
            }
            Op::Write {
                file,
                position,
                buffer,
                bytes,
                durable,
            } => {
                let write = PendingWrite {
                    position,
                    buffer,
                    bytes,
                    durable,
                };
                self.submit_write(token, self.file_name(file), write);
            }
            Op::Housekeeping(chore) => self.submit_housekeeping(token, chore),
            Op::Wake { shard } => {
                let mut hub = self.hub.borrow_mut();
                if let Some(io) = hub.shards.get_mut(usize::from(shard.0)) {
                    io.is_woken = true;
                    hub.nudge(shard.0);
                }
                return Some(finished(token));
            }
        }
        None
    }

    fn cancel(&mut self, token: Token) {
        let mut hub = self.hub.borrow_mut();
        let io = &mut hub.shards[usize::from(self.shard)];
        let mut data = None;
        if let Some(listener) = io
            .accepts
            .iter()
            .find_map(|(listener, armed)| (*armed == token).then_some(*listener))
        {
            io.accepts.remove(&listener);
            data = Some(Data::None);
        }
        for state in io.sockets.values_mut() {
            if state.recv == Some(token) {
                state.recv = None;
                data = Some(Data::None);
            }
            if state.send.as_ref().is_some_and(|(of, _)| *of == token)
                && let Some((_, buffer)) = state.send.take()
            {
                data = Some(Data::Sent(buffer));
            }
        }
        if let Some(data) = data {
            let done = Done {
                token,
                result: Err(Errno::CANCELED),
                more: false,
                data,
            };
            hub.complete(self.shard, done);
        }
    }

    /// The wait is over: the hub held the shard for as long as it lasted.
    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        let ready = {
            let mut hub = self.hub.borrow_mut();
            let hub = &mut *hub;
            let now = hub.now();
            let io = &mut hub.shards[usize::from(self.shard)];
            for item in &io.ready {
                let result = item
                    .result
                    .map_or_else(|errno| u64::from(errno.0.unsigned_abs()), |n| n as u64);
                hub.trace.note(&[8, now, item.token.0, result]);
            }
            std::mem::take(&mut io.ready)
        };
        for mut item in ready {
            item.data = self.pooled(item.data);
            done.push(item);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.hub.borrow().wall()
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Pool { index, len } => self.pool[*index as usize]
                .as_deref()
                .map(|bytes| &bytes[..*len as usize])
                .expect("the buffer is lent"),
            RecvBuffer::Owned(bytes) => bytes,
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        if let RecvBuffer::Pool { index, .. } = buffer {
            let taken = self.pool[index as usize].take();
            assert!(taken.is_some(), "a receive buffer was recycled twice");
        }
    }
}

/// A disk operation makes progress; true when a write has failed.
pub fn progress(hub: &mut Hub, disk: &SharedDisk, id: u64) -> bool {
    let Some(flight) = hub.flights.remove(&id) else {
        return false;
    };
    let failures = lock(disk).met.failures();
    match flight.advance(disk) {
        Step::Again(flight, delay) => {
            hub.launch(flight, delay);
            return false;
        }
        Step::Done(shard, done) => hub.complete(shard, done),
    }
    lock(disk).met.failures() > failures
}

/// The node stops in the middle of its disk operations; true when a commit was in flight.
pub fn abandon(flights: Vec<Flight>, disk: &SharedDisk) -> bool {
    let mut was_committing = false;
    for flight in flights {
        match flight.work {
            Work::Write(work) => {
                was_committing |= work.durable;
                lock(disk).abandon(&work);
            }
            Work::Sync(..) => was_committing = true,
            Work::Housekeeping { chore, fails } => {
                let happens = !fails && lock(disk).random().one_in(2);
                if happens {
                    // What it reaches before the end of the node is as good as what it does not.
                    drop(chore.run(&mut SimVolume::new(Arc::clone(disk))));
                }
            }
            Work::Read { .. } | Work::Open { .. } => {}
        }
    }
    was_committing
}

fn finished(token: Token) -> Done {
    Done {
        token,
        result: Ok(0),
        more: false,
        data: Data::None,
    }
}

const POOL_BUFFERS_MAX: usize = 4096;
