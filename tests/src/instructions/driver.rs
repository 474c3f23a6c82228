//! The steady driver: a machine that draws nothing, never fails and always takes as long.
//!
//! What was received, written or sent by one turn completes in the next; all else completes at once.
//! None of its methods is inlined, because Callgrind stops counting where one begins and goes on where it ends.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use corelane::driver::{Data, Done, Driver, Errno, File, Op, RecvBuffer, Socket, Token};
use corelane_wire::{ShardId, Timestamp};

/// As the real drivers have them.
const RECV_BUFFER_BYTES: usize = 32 << 10;

/// The driver of one shard.
pub(super) struct SteadyDriver {
    /// Node time.
    pub(super) now: Timestamp,
    /// The shards that were woken since the last look.
    pub(super) woken: Vec<ShardId>,
    accept: Option<Token>,
    sockets: BTreeMap<Socket, Pipes>,
    /// How many clients have connected.
    connected: u32,
    /// Completions for the next wait.
    ended: Vec<Done>,
    files: u32,
}

/// Both directions of a connection.
#[derive(Default)]
struct Pipes {
    recv: Option<Token>,
    to_node: Vec<u8>,
    to_client: Vec<u8>,
}

impl SteadyDriver {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            woken: Vec::new(),
            accept: None,
            sockets: BTreeMap::new(),
            connected: 0,
            ended: Vec::new(),
            files: 0,
        }
    }

    /// Whether a wait would end at once.
    pub(super) fn is_ready(&self) -> bool {
        let mut sockets = self.sockets.values();
        !self.ended.is_empty()
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

    /// A client sends.
    pub(super) fn put(&mut self, socket: Socket, bytes: &[u8]) {
        self.pipes(socket).to_node.extend_from_slice(bytes);
    }

    /// A client reads all there is.
    pub(super) fn take(&mut self, socket: Socket) -> Vec<u8> {
        std::mem::take(&mut self.pipes(socket).to_client)
    }

    fn pipes(&mut self, socket: Socket) -> &mut Pipes {
        let found = self.sockets.get_mut(&socket);
        found.expect("sockets are never closed here")
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
}

impl Driver for SteadyDriver {
    #[inline(never)]
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match op {
            Op::Accept { .. } => self.accept = Some(token),
            Op::Recv { socket } => self.pipes(socket).recv = Some(token),
            Op::Send { socket, buffer } => {
                self.pipes(socket).to_client.extend_from_slice(&buffer);
                self.end(token, Ok(buffer.len()), Data::Sent(buffer));
            }
            Op::Write { buffer, bytes, .. } => self.end(token, Ok(bytes), Data::Block(buffer)),
            Op::OpenSegment { .. } => {
                self.files += 1;
                self.end(token, Ok(0), Data::File(File(self.files)));
            }
            Op::Wake { shard } => {
                self.woken.push(shard);
                return Some(Done {
                    token,
                    result: Ok(0),
                    more: false,
                    data: Data::None,
                });
            }
            Op::CloseFile { .. } | Op::Housekeeping(_) => self.end(token, Ok(0), Data::None),
            Op::Read { .. } | Op::Close { .. } => {
                panic!("all that is delivered is in the cache, and no client leaves: {op:?}")
            }
        }
        None
    }

    #[inline(never)]
    fn cancel(&mut self, token: Token) {
        for pipes in self.sockets.values_mut() {
            if pipes.recv == Some(token) {
                pipes.recv = None;
                self.ended.push(Done {
                    token,
                    result: Err(Errno::CANCELED),
                    more: false,
                    data: Data::None,
                });
            }
        }
    }

    #[inline(never)]
    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        done.append(&mut self.ended);
        for pipes in self.sockets.values_mut() {
            let Some(token) = pipes.recv else {
                continue;
            };
            done.extend(pipes.to_node.chunks(RECV_BUFFER_BYTES).map(|bytes| Done {
                token,
                result: Ok(bytes.len()),
                more: true,
                data: Data::Received(RecvBuffer::Owned(bytes.to_vec())),
            }));
            pipes.to_node.clear();
        }
        Ok(())
    }

    #[inline(never)]
    fn now(&self) -> Timestamp {
        self.now
    }

    #[inline(never)]
    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match buffer {
            RecvBuffer::Owned(bytes) => bytes,
            RecvBuffer::Pool { .. } => panic!("no buffer was lent from a pool"),
        }
    }

    #[inline(never)]
    fn recycle(&mut self, buffer: RecvBuffer) {
        drop(buffer);
    }
}
