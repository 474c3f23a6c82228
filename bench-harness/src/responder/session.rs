//! The responder's connections, and its answers.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    Batch, Decoder, Enqueue, ErrorCode, Frame, HelloAnswer, Metadata, NodeId, PartitionId,
    PartitionPlace, Receipt, Request, Response, SessionId, Settle, SettleOutcome, Settled,
};
use rustix::event::epoll;

use super::Mistake;
use super::queue::{EPOCH, Queue};

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    is_blocked: bool,
}

/// Everything that the responder's thread owns.
#[derive(Debug)]
pub(super) struct Responses {
    listener: TcpListener,
    epoll: OwnedFd,
    peers: Vec<Option<Peer>>,
    state: State,
    input: Vec<u8>,
}

#[derive(Debug)]
struct State {
    port: u16,
    queues: HashMap<String, Queue>,
    mistake: Option<(Mistake, u64)>,
    /// Messages taken so far.
    taken: u64,
    /// Deliveries for other connections than the one that is read.
    outgoing: Vec<(usize, Vec<u8>)>,
}

impl Responses {
    pub(super) fn new(
        listener: TcpListener,
        port: u16,
        mistake: Option<(Mistake, u64)>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Self {
            listener,
            epoll,
            peers: Vec::new(),
            state: State {
                port,
                queues: HashMap::new(),
                mistake,
                taken: 0,
                outgoing: Vec::new(),
            },
            input: vec![0; INPUT_BYTES],
        })
    }

    /// Waits for something, answers it, and hands the answers to the kernel.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        let ready = match epoll::wait(&self.epoll, &mut events, None) {
            Ok((ready, _)) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // A slow reader stops all others: nothing grows without bound here either; (R2).
        let is_full = self
            .peers
            .iter()
            .flatten()
            .any(|peer| peer.waiting() > OUT_BYTES_MAX);
        for event in ready {
            match usize::try_from(event.data.u64()) {
                Ok(number) if event.data.u64() != LISTENER => {
                    if !is_full && !self.read(number) {
                        self.peers[number] = None;
                    }
                }
                _ => self.accept()?,
            }
        }
        for number in 0..self.peers.len() {
            self.flush(number)?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = epoll::EventData::new_u64(self.peers.len() as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        self.peers.push(Some(Peer {
            stream,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            out: Vec::new(),
            sent: 0,
            is_blocked: false,
        }));
        Ok(())
    }

    /// Reads once and answers; false if the connection is over.
    fn read(&mut self, number: usize) -> bool {
        let Some(Some(peer)) = self.peers.get_mut(number) else {
            return true;
        };
        let count = match peer.stream.read(&mut self.input) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let mut chunk = &self.input[..count];
        loop {
            match peer.decoder.next(&mut chunk) {
                Ok(Some(frame)) => self.state.answer(number, &frame, &mut peer.out),
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        for (other, bytes) in self.state.outgoing.drain(..) {
            if let Some(Some(peer)) = self.peers.get_mut(other) {
                peer.out.extend_from_slice(&bytes);
            }
        }
        true
    }

    fn flush(&mut self, number: usize) -> io::Result<()> {
        let Some(Some(peer)) = self.peers.get_mut(number) else {
            return Ok(());
        };
        if peer.waiting() == 0 {
            return Ok(());
        }
        let Ok(is_blocked) = peer.flush() else {
            self.peers[number] = None;
            return Ok(());
        };
        if is_blocked != peer.is_blocked {
            peer.is_blocked = is_blocked;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, is_blocked);
            let data = epoll::EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &peer.stream, data, flags)?;
        }
        Ok(())
    }
}

impl Peer {
    const fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// True if the kernel takes no more for now.
    fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(false)
    }
}

impl State {
    fn answer(&mut self, number: usize, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let answer = match Request::decode(frame) {
            Ok(Request::Enqueue(enqueue)) => self.enqueue(&enqueue),
            Ok(Request::Subscribe(subscribe)) => {
                let queue = self.queues.entry(subscribe.queue.to_owned()).or_default();
                queue.consumers.push((number, subscribe.consumer));
                Response::Subscribed
            }
            Ok(Request::Unsubscribe { consumer }) => {
                for queue in self.queues.values_mut() {
                    queue.consumers.retain(|place| *place != (number, consumer));
                }
                Response::Unsubscribed
            }
            Ok(Request::Ack(settle)) => settled(&settle),
            Ok(Request::Hello(_)) => Response::Hello(greeting()),
            Ok(Request::Metadata) => Response::Metadata(self.metadata()),
            Ok(Request::QueueCreate { .. }) => Response::QueueCreated { created: true },
            Ok(Request::QueueDelete { queue }) => {
                self.queues.remove(queue);
                Response::QueueDeleted
            }
            Ok(_) => refusal(ErrorCode::NotSupported, "the responder does nothing"),
            Err(error) => refusal(ErrorCode::Malformed, &error.to_string()),
        };
        answer.encode(frame.correlation, EPOCH, out);
    }

    fn enqueue(&mut self, enqueue: &Enqueue<'_>) -> Response<'static> {
        let Ok(batch) = Batch::trusted(enqueue.batch) else {
            return refusal(ErrorCode::Malformed, "not a batch");
        };
        let mistake = self.mistake_in(batch.count);
        if let Some((Mistake::Pause(duration), _)) = mistake {
            thread::sleep(duration);
        }
        if !self.queues.contains_key(enqueue.queue) {
            self.queues
                .insert(enqueue.queue.to_owned(), Queue::default());
        }
        let Some(queue) = self.queues.get_mut(enqueue.queue) else {
            return refusal(ErrorCode::QueueNotFound, enqueue.queue);
        };
        let range = queue.take(batch.count);
        if let Some((number, consumer)) = queue.consumer() {
            let mut bytes = Vec::new();
            queue.deliver((consumer, range), &batch, mistake, &mut bytes);
            self.outgoing.push((number, bytes));
        }
        if let Some((Mistake::Refuse, _)) = mistake {
            return refusal(ErrorCode::Busy, "planted");
        }
        Response::Enqueued(Receipt {
            range,
            class: batch.class,
            copies: 1,
            duplicate: false,
            slow_down: false,
        })
    }

    /// The mistake, if its message is in the batch that is taken now, and its place there.
    fn mistake_in(&mut self, count: u32) -> Option<(Mistake, u32)> {
        let first = self.taken;
        self.taken += u64::from(count);
        let (mistake, at) = self.mistake?;
        let index = u32::try_from(at.checked_sub(first)?).ok()?;
        (index < count).then_some((mistake, index))
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            node: NodeId(0),
            shared_port: self.port,
            partitions: vec![PartitionPlace {
                partition: PartitionId(0),
                node: NodeId(0),
                port: self.port,
            }],
        }
    }
}

fn settled(settle: &Settle<'_>) -> Response<'static> {
    let row = |range| Settled {
        range,
        outcome: SettleOutcome::Done,
    };
    Response::Settled(
        settle
            .entries
            .iter()
            .map(|entry| row(entry.range))
            .collect(),
    )
}

fn greeting() -> HelloAnswer {
    HelloAnswer {
        version: 1,
        features: 0,
        session: SessionId(1),
        resumed: false,
        node: NodeId(0),
        server_name: "corelane-bench responder".to_owned(),
        frame_bytes_max: u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX),
        in_flight_max: 1_024,
    }
}

fn refusal(code: ErrorCode, text: &str) -> Response<'static> {
    let text = text.to_owned();
    Response::Error { code, text }
}

const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 64;
const INPUT_BYTES: usize = 256 * 1_024;
const OUT_BYTES_MAX: usize = 4 << 20;
