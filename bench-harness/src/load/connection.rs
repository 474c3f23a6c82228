//! A non-blocking socket with its two buffers.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Bytes that came and are not yet used.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Bytes that the kernel has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    start: usize,
}

/// A connection to a broker; blocking until the generator has it.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        })
    }

    /// Where requests are encoded to.
    pub const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.outbox.bytes
    }

    /// Sends what is encoded and reads until `answer` finds itself in the bytes that came, and says how many it
    /// used; only while the connection is blocking.
    ///
    /// # Errors
    /// If `answer` refuses the bytes, or does not come.
    pub fn call<T>(
        &mut self,
        mut answer: impl FnMut(&[u8]) -> Result<Option<(T, usize)>>,
    ) -> Result<T> {
        self.flush()?;
        loop {
            if let Some((found, used)) = answer(self.inbox.unused())? {
                self.inbox.consume(used);
                return Ok(found);
            }
            if self.fill()? == 0 {
                bail!("the broker does not answer within {PATIENCE:?}");
            }
        }
    }

    pub(super) fn unblock(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Hands to the kernel what it takes; true if nothing is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let outbox = &mut self.outbox;
        while outbox.start < outbox.bytes.len() {
            match self.stream.write(&outbox.bytes[outbox.start..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => outbox.start += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        outbox.bytes.clear();
        outbox.start = 0;
        Ok(true)
    }

    /// Reads once; 0 if nothing is there.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        let room = self.inbox.room();
        match self.stream.read(room) {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the broker closed the connection",
            )),
            Ok(count) => {
                self.inbox.end += count;
                Ok(count)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

impl Inbox {
    /// What came and is not used yet.
    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `count` of them are used.
    pub(super) const fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "no more is used than came");
    }

    /// Where the next bytes go; what is left of earlier ones moves to the front.
    fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; INBOX_BYTES];
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.bytes.len() - self.end < INBOX_BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.bytes.len() {
                // One frame fills it all: there is a greatest frame, so this happens a few times at most.
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        &mut self.bytes[self.end..]
    }
}

impl Outbox {
    /// Bytes that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }
}

const INBOX_BYTES: usize = 128 * 1_024;
const PATIENCE: Duration = Duration::from_secs(30);
