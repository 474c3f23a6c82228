//! A responder that does nothing: it answers what a broker would answer, and keeps nothing.
//!
//! It is the measure of the load generator, which drives it to find its own limit, and the touchstone of the
//! generator's verification: it can be told to make one mistake.
//!
//! One thread, any number of connections. A batch is answered with a receipt at once, and its entries go straight to
//! one of the queue's consumers, whose credit is not looked at. It serves what the generator asks for and refuses the
//! rest.
//!
//! Invariants: (R1) the entries that are delivered are those that came, byte for byte, except in a mistake. (R2) a
//! connection with more than 4 MiB that wait is a reason to read none.

mod queue;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use self::session::Responses;
use crate::clock;

/// What goes wrong with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is confirmed and never delivered.
    Lose,
    /// It is delivered twice.
    Duplicate,
    /// Its batch is delivered behind the next one.
    Reorder,
    /// One byte of it is spoiled on the way.
    Corrupt,
    /// One byte of it is spoiled, and its checksum made right again.
    Forge,
    /// Its batch is refused, and delivered all the same.
    Refuse,
    /// Everything stands still for so long before it is answered.
    Pause(Duration),
}

/// How a responder behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponderOptions {
    /// The core that its thread is pinned to.
    pub core: Option<usize>,
    /// A mistake, and the number of the message that it happens to, counted over all queues from 0.
    pub mistake: Option<(Mistake, u64)>,
}

/// A responder; its thread ends when it is dropped.
#[derive(Debug)]
pub struct Responder {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Responder {
    /// Serves on a free port of the loopback.
    ///
    /// # Errors
    /// If no socket can be made.
    pub fn start(options: ResponderOptions) -> io::Result<Self> {
        Self::on((Ipv4Addr::LOCALHOST, 0).into(), options)
    }

    /// Serves on `address`.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn on(address: SocketAddr, options: ResponderOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let mut responses = Responses::new(listener, address.port(), options.mistake)?;
        let thread = thread::spawn(move || {
            if let Some(core) = options.core {
                clock::pin(core)?;
            }
            while !seen.load(Ordering::SeqCst) {
                responses.turn()?;
            }
            Ok(())
        });
        Ok(Self {
            address,
            is_over,
            thread: Some(thread),
        })
    }

    /// Where it answers.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for its end, which comes only with an error.
    ///
    /// # Errors
    /// What ended it.
    pub fn wait(mut self) -> io::Result<()> {
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // A connection wakes it; without one it sleeps on, and ends with the process.
        if let (Ok(_), Some(thread)) = (TcpStream::connect(self.address), self.thread.take()) {
            drop(thread.join());
        }
    }
}
