//! A blocking connection that speaks the wire protocol and nothing more.
//!
//! It shares no code with the clients, so a mistake of theirs cannot hide one of the broker's, and it
//! can send what no client would.

mod verbs;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use corelane_wire::limits::FRAME_BYTES_MAX;
pub use verbs::{Refused, Taken};

use corelane_wire::{Correlation, Frame, Hello, Request, Response, SessionId};

/// No answer for this long is an error, not patience.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 65_536;

/// A connection after HELLO.
pub struct RawConnection {
    stream: TcpStream,
    received: Vec<u8>,
    used: usize,
    outgoing: Vec<u8>,
    next_correlation: u64,
    /// The session that the broker gave or resumed.
    pub session: SessionId,
}

impl RawConnection {
    /// Connects without a greeting, for tests of what comes before it.
    ///
    /// # Errors
    /// If the connection is refused.
    pub fn connect_silently(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            used: 0,
            outgoing: Vec::new(),
            next_correlation: 1,
            session: SessionId::default(),
        })
    }

    /// Connects and greets, resuming `session` unless it is 0.
    ///
    /// # Errors
    /// If the connection is refused or the greeting is.
    pub fn connect(address: SocketAddr, session: SessionId) -> anyhow::Result<Self> {
        let mut connection = Self::connect_silently(address)?;
        let hello = Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            session,
            resume: session != SessionId::default(),
            client_name: "raw",
            tenant: "",
            token: &[],
        });
        connection.send(&hello)?;
        let session = connection.receive(|_, response| {
            let Response::Hello(answer) = &response else {
                bail!("HELLO was answered with {response:?}");
            };
            Ok(answer.session)
        })?;
        connection.session = session;
        Ok(connection)
    }

    /// Writes one request, with the correlation id it was given.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<Correlation> {
        let correlation = self.queue(request);
        self.flush()?;
        Ok(correlation)
    }

    /// Encodes one request to go with the next `flush`.
    pub fn queue(&mut self, request: &Request<'_>) -> Correlation {
        let correlation = Correlation(self.next_correlation);
        self.next_correlation += 1;
        request.encode(correlation, &mut self.outgoing);
        correlation
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.outgoing);
        self.stream.write_all(&bytes)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for the next frame and hands it, decoded, to `take`.
    ///
    /// # Errors
    /// If the connection ends, is silent for 20 s, or brings what is not a valid answer.
    pub fn receive<T>(
        &mut self,
        take: impl FnOnce(Frame<'_>, Response<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            let unread = self.received.get(self.used..).unwrap_or_default();
            if let Some((frame, bytes)) = Frame::read(unread, FRAME_BYTES_MAX)? {
                self.used += bytes;
                let response = Response::decode(&frame).context("decoding an answer")?;
                return take(frame, response);
            }
            self.received.drain(..self.used);
            self.used = 0;
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        let held = self.received.len();
        self.received.resize(held + READ_BYTES, 0);
        let count = loop {
            match self.stream.read(&mut self.received[held..]) {
                // A process that was stopped and goes on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count,
            }
        };
        self.received
            .truncate(held + count.as_ref().map_or(0, |count| *count));
        if count? == 0 {
            let text = "the broker closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
        }
        Ok(())
    }
}
