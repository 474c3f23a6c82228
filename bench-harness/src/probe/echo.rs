//! Floor of an answer: a raw TCP echo on loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::pace::Pace;
use crate::record::Latencies;

/// Sends a frame and waits for it to come back from a thread that does nothing else.
#[derive(Debug)]
pub struct EchoProbe {
    stream: TcpStream,
    frame: Vec<u8>,
}

impl EchoProbe {
    /// Starts the echo, with frames of `frame_bytes`, on that core or on any; its thread ends with the probe.
    ///
    /// # Errors
    /// If no connection can be made, or the core is not to be had.
    pub fn new(frame_bytes: usize, core: Option<usize>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        let (pinned, is_pinned) = mpsc::channel();
        thread::spawn(move || {
            let result = core.map_or(Ok(()), clock::pin);
            let is_ready = result.is_ok();
            // Nobody receives if the probe was given up meanwhile.
            drop(pinned.send(result));
            if is_ready {
                echo(peer, frame_bytes);
            }
        });
        is_pinned.recv().map_err(io::Error::other)??;
        Ok(Self {
            stream,
            frame: vec![0xA5; frame_bytes],
        })
    }

    /// Sends `count` frames at the given rate and records the time of each round trip.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn run(&mut self, count: u32, per_second: u32) -> io::Result<Latencies> {
        let mut pace = Pace::new(per_second);
        let mut latencies = Latencies::default();
        for _ in 0..count {
            pace.wait();
            latencies.record(self.round_trip()?);
        }
        Ok(latencies)
    }

    /// Sends one frame after the other for as long as `duration` and records the time of each round trip.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn run_for(&mut self, duration: Duration) -> io::Result<Latencies> {
        let start = Instant::now();
        let mut latencies = Latencies::default();
        while start.elapsed() < duration {
            latencies.record(self.round_trip()?);
        }
        Ok(latencies)
    }

    fn round_trip(&mut self) -> io::Result<Duration> {
        let begin = Instant::now();
        self.stream.write_all(&self.frame)?;
        self.stream.read_exact(&mut self.frame)?;
        Ok(begin.elapsed())
    }
}

/// Sends everything back until the other side closes.
fn echo(mut peer: TcpStream, frame_bytes: usize) {
    let mut frame = vec![0; frame_bytes];
    while peer.read_exact(&mut frame).is_ok() && peer.write_all(&frame).is_ok() {}
}
