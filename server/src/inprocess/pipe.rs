//! One connection: two rings of byte chunks, and what tells each end about the other.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use corelane_core::mailbox::{Parked, Receiver, Sender, ring};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::door::Door;

/// Largest chunk.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Chunks that a ring holds.
const CHUNKS: usize = 16;

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// The client's end is gone, or has written its last.
    is_client_gone: AtomicBool,
    /// The shard's end is gone.
    is_shard_gone: AtomicBool,
    /// Whether the client sleeps.
    client: Parked,
    /// Wakes the client; set before it parks.
    waker: Mutex<Option<Waker>>,
    /// Whether the shard waits for room.
    shard: Parked,
}

impl Shared {
    /// Wakes the client if it sleeps. Its lock is free then: it is only held before parking.
    fn wake_client(&self) {
        if self.client.wake() {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            let waker = waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The client is about to sleep; it must look once more after this.
    fn park_client(&self, context: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(context.waker().clone());
        drop(waker);
        self.client.park();
    }
}

/// Makes a connection through a door.
pub(super) fn pipe(door: Arc<Door>) -> (ClientEnd, ShardEnd) {
    let (to_shard, from_client) = ring(CHUNKS);
    let (to_client, from_shard) = ring(CHUNKS);
    let known = Arc::new(Shared::default());
    let client = ClientEnd {
        to_shard,
        from_shard,
        chunk: Vec::new(),
        taken: 0,
        shared: Arc::clone(&known),
        door,
    };
    let shard = ShardEnd {
        to_client,
        from_client,
        shared: known,
    };
    (client, shard)
}

/// The client's end: a stream for tokio. Used by one task, never split.
#[derive(Debug)]
pub(super) struct ClientEnd {
    to_shard: Sender<Vec<u8>>,
    from_shard: Receiver<Vec<u8>>,
    /// The chunk that is being read, and how much of it was.
    chunk: Vec<u8>,
    taken: usize,
    shared: Arc<Shared>,
    door: Arc<Door>,
}

impl ClientEnd {
    fn is_shard_gone(&self) -> bool {
        self.shared.is_shard_gone.load(Ordering::Acquire)
    }

    /// Whether there is a chunk to read, which is then begun. False twice around a look at the
    /// other end means that there will be none (I1).
    fn begin_chunk(&mut self) -> bool {
        if self.taken < self.chunk.len() {
            return true;
        }
        let Some(chunk) = self.from_shard.receive() else {
            return false;
        };
        self.chunk = chunk;
        self.taken = 0;
        if self.shared.shard.wake() {
            self.door.stir();
        }
        true
    }

    fn leave(&self) {
        self.shared.is_client_gone.store(true, Ordering::Release);
        self.door.stir();
    }
}

impl AsyncRead for ClientEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = &mut *self;
        if !end.begin_chunk() {
            end.shared.park_client(context);
            let is_over = end.is_shard_gone();
            if !end.begin_chunk() {
                return if is_over {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            end.shared.client.unpark();
        }
        let rest = end.chunk.get(end.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        end.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = &mut *self;
        if end.to_shard.room() == 0 && !end.is_shard_gone() {
            end.shared.park_client(context);
            if end.to_shard.room() == 0 && !end.is_shard_gone() {
                return Poll::Pending;
            }
            end.shared.client.unpark();
        }
        if end.is_shard_gone() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(CHUNK_BYTES_MAX);
        if count > 0 && end.to_shard.send(bytes[..count].to_vec()).is_ok() {
            end.door.stir();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leave();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The shard's end.
#[derive(Debug)]
pub(super) struct ShardEnd {
    to_client: Sender<Vec<u8>>,
    from_client: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

/// What the shard finds at its end.
pub(super) enum Found {
    /// Bytes.
    Chunk(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

impl ShardEnd {
    pub(super) fn receive(&mut self) -> Found {
        if let Some(chunk) = self.take() {
            return Found::Chunk(chunk);
        }
        if !self.is_client_gone() {
            return Found::Nothing;
        }
        // What was sent before the end went is seen by now (I1).
        self.take().map_or(Found::End, Found::Chunk)
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let chunk = self.from_client.receive()?;
        self.shared.wake_client();
        Some(chunk)
    }

    pub(super) fn is_client_gone(&self) -> bool {
        self.shared.is_client_gone.load(Ordering::Acquire)
    }

    /// Sends what there is room for and returns how much that was; if it was not all, the door is
    /// stirred when there is room again.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = self.send_now(bytes);
        if sent < bytes.len() {
            self.shared.shard.park();
            sent += self.send_now(&bytes[sent..]);
            if sent == bytes.len() {
                self.shared.shard.unpark();
            }
        }
        if sent > 0 {
            self.shared.wake_client();
        }
        sent
    }

    fn send_now(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            if self.to_client.room() == 0 || self.to_client.send(chunk.to_vec()).is_err() {
                break;
            }
            sent += chunk.len();
        }
        sent
    }
}

impl Drop for ShardEnd {
    fn drop(&mut self) {
        self.shared.is_shard_gone.store(true, Ordering::Release);
        self.shared.wake_client();
    }
}
