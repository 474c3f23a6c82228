//! Connections by the thousand, from several addresses, so that ports do not run out.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{Correlation, Frame, Hello, Request, Response, SessionId};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Connections that come from one address before the next is used.
const PER_ADDRESS: u32 = 2_000;
/// No answer for this long is a failure.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Opens connections; each address of 127.1.0.0/16 serves for some.
#[derive(Debug, Default)]
pub struct Sources {
    opened: AtomicU32,
}

impl Sources {
    /// Opens a connection.
    ///
    /// # Errors
    /// If it is refused.
    pub fn open(&self, to: SocketAddr) -> anyhow::Result<TcpStream> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed) / PER_ADDRESS;
        let [_, _, high, low] = (number + 1).to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), 0);
        let handle = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&handle, &from).with_context(|| format!("from {from}"))?;
        connect(&handle, &to).with_context(|| format!("from {from} to {to}"))?;
        let stream = TcpStream::from(handle);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    }
}

/// Greets as a new client, and waits for the answer.
///
/// # Errors
/// If the broker does not take the greeting.
pub fn greet(stream: &mut TcpStream) -> anyhow::Result<()> {
    let hello = Request::Hello(Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        session: SessionId::default(),
        resume: false,
        client_name: "crowd",
        tenant: "",
        token: &[],
    });
    let mut bytes = Vec::new();
    hello.encode(Correlation(1), &mut bytes);
    stream.write_all(&bytes)?;
    let (mut received, mut chunk) = (Vec::new(), [0; 512]);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            bail!("the broker closed the connection instead of greeting");
        }
        received.extend_from_slice(&chunk[..count]);
        if let Some((frame, _)) = Frame::read(&received, FRAME_BYTES_MAX)? {
            let answer = Response::decode(&frame)?;
            if matches!(answer, Response::Hello(_)) {
                return Ok(());
            }
            bail!("HELLO was answered with {answer:?}");
        }
    }
}

/// Reads until the broker has closed the connection, or `until` has passed.
///
/// # Errors
/// If it is still open then.
pub fn await_end(stream: &mut TcpStream, until: Instant) -> anyhow::Result<()> {
    let mut chunk = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Zero would mean to wait for ever.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("a half-open connection was not closed"),
        }
    }
}
