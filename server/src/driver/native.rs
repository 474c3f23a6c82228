//! The driver of a real broker: whichever of ours it was started with.
//!
//! An enum and not a trait object: each operation costs one comparison that the processor foresees.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use corelane_wire::Timestamp;

use super::epoll::Epoll;
#[cfg(feature = "glommio")]
use super::glommio::Glommio;
use super::uring::{Uring, UringPeer};
use super::{Done, Driver, DriverStats, Listener, Op, RecvBuffer, Token, Waker};

/// One of our drivers on a real machine.
pub enum Native {
    /// epoll and file threads.
    Epoll(Box<Epoll>),
    /// `io_uring`.
    Uring(Box<Uring>),
    /// An executor of glommio.
    #[cfg(feature = "glommio")]
    Glommio(Box<Glommio>),
}

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NativeKind {
    /// epoll and file threads.
    Epoll,
    /// `io_uring`.
    Uring,
    /// An executor of glommio; experimental.
    Glommio,
}

impl fmt::Display for NativeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::Uring => "uring",
            Self::Glommio => "experimental glommio",
        })
    }
}

impl Native {
    /// Which one it is.
    #[must_use]
    pub const fn kind(&self) -> NativeKind {
        match self {
            Self::Epoll(_) => NativeKind::Epoll,
            Self::Uring(_) => NativeKind::Uring,
            #[cfg(feature = "glommio")]
            Self::Glommio(_) => NativeKind::Glommio,
        }
    }

    /// Lets drivers of one kind wake each other; their order is that of the shards' numbers.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn introduce(drivers: &mut [Self]) -> io::Result<()> {
        let wakers: Vec<Waker> = drivers.iter().map(Self::waker).collect();
        let rings = drivers.iter().filter_map(|driver| match driver {
            Self::Epoll(_) => None,
            Self::Uring(uring) => Some(uring.peer()),
            #[cfg(feature = "glommio")]
            Self::Glommio(_) => None,
        });
        let peers = rings.collect::<io::Result<Vec<UringPeer>>>()?;
        for driver in drivers {
            match driver {
                Self::Epoll(epoll) => epoll.set_peers(wakers.clone()),
                Self::Uring(uring) => uring.set_peers(peers.clone()),
                #[cfg(feature = "glommio")]
                Self::Glommio(glommio) => glommio.set_peers(wakers.clone()),
            }
        }
        Ok(())
    }

    /// Takes over a bound, listening socket; the shard accepts on the number.
    ///
    /// # Errors
    /// If the socket does not take the driver's way of waiting.
    pub fn add_listener(&mut self, listener: TcpListener) -> io::Result<Listener> {
        match self {
            Self::Epoll(epoll) => epoll.add_listener(listener),
            Self::Uring(uring) => uring.add_listener(listener),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.add_listener(listener),
        }
    }

    /// What wakes this driver from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match self {
            Self::Epoll(epoll) => epoll.waker(),
            Self::Uring(uring) => uring.waker(),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.waker(),
        }
    }

    /// What this driver counts.
    #[must_use]
    pub fn stats(&self) -> Arc<DriverStats> {
        match self {
            Self::Epoll(epoll) => epoll.stats(),
            Self::Uring(uring) => uring.stats(),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.stats(),
        }
    }
}

impl Driver for Native {
    fn submit(&mut self, token: Token, op: Op) -> Option<Done> {
        match self {
            Self::Epoll(epoll) => epoll.submit(token, op),
            Self::Uring(uring) => uring.submit(token, op),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.submit(token, op),
        }
    }

    fn cancel(&mut self, token: Token) {
        match self {
            Self::Epoll(epoll) => epoll.cancel(token),
            Self::Uring(uring) => uring.cancel(token),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.cancel(token),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.wait(timeout, done),
            Self::Uring(uring) => uring.wait(timeout, done),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.wait(timeout, done),
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Epoll(epoll) => epoll.now(),
            Self::Uring(uring) => uring.now(),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.now(),
        }
    }

    fn bytes<'a>(&'a self, buffer: &'a RecvBuffer) -> &'a [u8] {
        match self {
            Self::Epoll(epoll) => epoll.bytes(buffer),
            Self::Uring(uring) => uring.bytes(buffer),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.bytes(buffer),
        }
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        match self {
            Self::Epoll(epoll) => epoll.recycle(buffer),
            Self::Uring(uring) => uring.recycle(buffer),
            #[cfg(feature = "glommio")]
            Self::Glommio(glommio) => glommio.recycle(buffer),
        }
    }
}
