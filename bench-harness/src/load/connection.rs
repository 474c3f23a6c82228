//! A non-blocking socket with its two buffers, and the greeting that opens it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{Correlation, Frame, FrameError, Hello, Request, Response, SessionId};

/// Bytes that came and are not yet cut into frames.
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

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// What the broker calls itself.
    pub(super) server: String,
}

impl Connection {
    /// Connects and greets; blocking from here until [`Connection::unblock`].
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Self {
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            server: String::new(),
        };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session: SessionId::NONE,
            resume: false,
            client_name: "corelane-bench",
            tenant: "",
            token: b"",
        };
        connection.server = connection
            .call(&Request::Hello(hello), |answer| {
                let Response::Hello(greeting) = answer else {
                    bail!("the greeting is answered by {answer:?}");
                };
                Ok(greeting.server_name.clone())
            })
            .with_context(|| format!("{address} does not greet"))?;
        Ok(connection)
    }

    /// Sends one request and hands its answer to `read`; only while the connection is blocking.
    pub(super) fn call<T>(
        &mut self,
        request: &Request<'_>,
        read: impl FnOnce(&Response<'_>) -> Result<T>,
    ) -> Result<T> {
        request.encode(Correlation(0), &mut self.outbox.bytes);
        self.flush()?;
        loop {
            if let Some(frame) = self.inbox.next()? {
                let answer = Response::decode(&frame)?;
                if let Response::Error { code, text } | Response::Fault { code, text } = &answer {
                    bail!("the broker refuses: {code}: {text}");
                }
                return read(&answer);
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
    /// The next whole frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((frame, used)) = Frame::read(&self.bytes[self.start..self.end], FRAME_BYTES_MAX)?
        else {
            return Ok(None);
        };
        self.start += used;
        Ok(Some(frame))
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
