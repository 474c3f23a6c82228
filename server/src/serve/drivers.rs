//! One driver per shard, of the kind that was asked for or that this machine allows.

use std::io;

use corelane_storage::Volumes;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Config, DriverChoice};
use crate::driver::epoll::{Epoll, EpollOptions};
#[cfg(feature = "glommio")]
use crate::driver::glommio::{self, Glommio, GlommioOptions};
use crate::driver::native::Native;
use crate::driver::uring::{self, Refusal, Uring, UringOptions};

/// What drivers are made of.
pub(super) struct Drivers<'a> {
    pub(super) config: &'a Config,
    pub(super) volumes: &'a Volumes,
    pub(super) clock: &'a Clock,
    pub(super) connections_max: usize,
}

impl Drivers<'_> {
    /// Makes one per shard, which know each other. A machine that refuses `uring` gets `epoll`
    /// and one line that says why; but whoever asks for `uring` by name wants to know, and gets
    /// an error.
    pub(super) fn make(&self) -> Result<Vec<Native>, StartError> {
        let mut drivers = match self.config.driver {
            DriverChoice::Epoll => self.epoll().map_err(|error| refused(&error))?,
            DriverChoice::Auto => match self.uring() {
                Ok(drivers) => drivers,
                Err(Refusal { cause, remedy }) => {
                    tracing::warn!(
                        event = "driver_refused",
                        %cause,
                        %remedy,
                        "io_uring cannot be used here; the shards run on epoll"
                    );
                    self.epoll().map_err(|error| refused(&error))?
                }
            },
            DriverChoice::Uring => self
                .uring()
                .map_err(|refusal| StartError::driver(self.config, &refusal))?,
            DriverChoice::Glommio => self.glommio()?,
        };
        Native::introduce(&mut drivers).map_err(|error| refused(&error))?;
        Ok(drivers)
    }

    /// The shard refuses with a count of its own first.
    fn sockets_max(&self) -> usize {
        self.connections_max + SOCKETS_SPARE
    }

    fn epoll(&self) -> io::Result<Vec<Native>> {
        let make = |shard| {
            let options = EpollOptions {
                name: format!("shard{shard}"),
                commit_threads: self.config.commit_threads,
                commit_mode: self.config.commit_mode,
                sockets_max: self.sockets_max(),
                ..EpollOptions::default()
            };
            let driver = Epoll::new(&options, self.volumes, self.clock.clone())?;
            Ok(Native::Epoll(Box::new(driver)))
        };
        (0..self.config.cores).map(make).collect()
    }

    fn uring(&self) -> Result<Vec<Native>, Refusal> {
        uring::check(self.volumes.root())?;
        let make = |shard| {
            let options = UringOptions {
                name: format!("shard{shard}"),
                commit_mode: self.config.commit_mode,
                commit_threads: self.config.commit_threads,
                sockets_max: self.sockets_max(),
                ..UringOptions::default()
            };
            let driver = Uring::new(&options, self.volumes, self.clock.clone())?;
            Ok(Native::Uring(Box::new(driver)))
        };
        let drivers: io::Result<Vec<_>> = (0..self.config.cores).map(make).collect();
        drivers.map_err(|error| Refusal::of_setup(&error))
    }

    #[cfg(feature = "glommio")]
    fn glommio(&self) -> Result<Vec<Native>, StartError> {
        glommio::check(self.volumes.root())
            .map_err(|refusal| StartError::driver(self.config, &refusal))?;
        tracing::warn!(
            event = "experimental_driver",
            "the glommio driver is experimental: it is slower than the others, and tested less"
        );
        let make = |shard| {
            let options = GlommioOptions {
                name: format!("shard{shard}"),
                drivers: self.config.cores,
                commit_threads: self.config.commit_threads,
                commit_mode: self.config.commit_mode,
                sockets_max: self.sockets_max(),
                ..GlommioOptions::default()
            };
            let driver = Glommio::new(&options, self.volumes, self.clock.clone())?;
            Ok(Native::Glommio(Box::new(driver)))
        };
        let drivers: io::Result<Vec<_>> = (0..self.config.cores).map(make).collect();
        drivers.map_err(|error| refused(&error))
    }

    #[cfg(not(feature = "glommio"))]
    fn glommio(&self) -> Result<Vec<Native>, StartError> {
        Err(StartError::of(
            self.config,
            "driver",
            "this program was built without the glommio driver, which is experimental".to_owned(),
            "cargo build --release -p corelane --features glommio, or use driver = auto".to_owned(),
        ))
    }
}

fn refused(error: &io::Error) -> StartError {
    StartError::plain(&format!("cannot make a driver: {error}"))
}

/// Sockets that a driver takes beyond the connections of its shard, for those being closed.
const SOCKETS_SPARE: usize = 64;
