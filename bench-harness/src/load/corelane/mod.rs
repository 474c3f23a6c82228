//! The broker of this project: its greeting, its queues, and where their owners answer.

mod consumers;
mod producers;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    Correlation, Frame, Hello, Lane, Metadata, QueueConfig, Request, Response, SessionId, Storage,
    partition_of,
};

pub use self::consumers::CorelaneConsumers;
pub use self::producers::CorelaneProducers;
use super::connection::Connection;
use super::plan::Plan;
use super::protocol::Broker;

/// Corelane, over its native protocol.
#[derive(Debug)]
pub struct Corelane {
    target: SocketAddr,
    control: Connection,
    /// What the broker calls itself.
    server: String,
    places: Metadata,
}

impl Corelane {
    /// Greets the broker on its shared data port.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn connect(target: SocketAddr) -> Result<Self> {
        let (mut control, server) = greet(target)?;
        let places = call(&mut control, &Request::Metadata, |answer| {
            let Response::Metadata(metadata) = answer else {
                bail!("metadata is answered by {answer:?}");
            };
            Ok(metadata.clone())
        })?;
        Ok(Self {
            target,
            control,
            server,
            places,
        })
    }

    /// Where the owner of the first queue answers; requests for others take one hop more.
    fn address(&self, plan: &Plan, indices: &[u32]) -> SocketAddr {
        let first = indices.first().copied().unwrap_or_default();
        let queue = plan.queue(first % plan.queues);
        let count = u32::try_from(self.places.partitions.len()).unwrap_or(u32::MAX);
        let partition = partition_of("default", &queue, Lane(0), count.max(1));
        let place = self.places.partitions.get(partition.0 as usize);
        let port = place.map_or_else(|| self.target.port(), |place| place.port);
        SocketAddr::new(self.target.ip(), port)
    }
}

impl Broker for Corelane {
    type Producers = CorelaneProducers;
    type Consumers = CorelaneConsumers;

    fn prepare(&mut self, plan: &Plan) -> Result<String> {
        for index in 0..plan.queues {
            let queue = &plan.queue(index);
            let request = if plan.is_memory_only {
                let config = Some(IN_MEMORY);
                Request::QueueConfigure { queue, config }
            } else {
                Request::QueueCreate { queue, lanes: 1 }
            };
            call(&mut self.control, &request, |_| Ok(()))?;
        }
        Ok(self.server.clone())
    }

    fn producers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Producers)> {
        let (connection, _) = greet(self.address(plan, indices))?;
        Ok((connection, CorelaneProducers::new(plan, indices)))
    }

    fn consumers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Consumers)> {
        let (mut connection, _) = greet(self.address(plan, indices))?;
        let consumers = CorelaneConsumers::new(plan, indices);
        consumers.subscribe(plan, &mut connection)?;
        Ok((connection, consumers))
    }

    fn clear(&mut self, plan: &Plan) -> Result<()> {
        for index in 0..plan.queues {
            let request = Request::QueueDelete {
                queue: &plan.queue(index),
            };
            call(&mut self.control, &request, |_| Ok(()))?;
        }
        Ok(())
    }
}

/// Connects and greets; with what the broker calls itself.
fn greet(address: SocketAddr) -> Result<(Connection, String)> {
    let mut connection = Connection::open(address)?;
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
    let server = call(&mut connection, &Request::Hello(hello), |answer| {
        let Response::Hello(greeting) = answer else {
            bail!("the greeting is answered by {answer:?}");
        };
        Ok(greeting.server_name.clone())
    })
    .with_context(|| format!("{address} does not greet"))?;
    Ok((connection, server))
}

/// Sends one request and hands its answer to `read`; only while the connection is blocking.
fn call<T>(
    connection: &mut Connection,
    request: &Request<'_>,
    read: impl Fn(&Response<'_>) -> Result<T>,
) -> Result<T> {
    ask(connection, request, |answer| {
        read(answer).map(Found::Answer)
    })
}

/// What the first frame is after a request.
enum Found<T> {
    /// The answer to it.
    Answer(T),
    /// Something else, which tells as much and is to be read again.
    Early(T),
}

/// As [`call`], where something may come before the answer.
fn ask<T>(
    connection: &mut Connection,
    request: &Request<'_>,
    read: impl Fn(&Response<'_>) -> Result<Found<T>>,
) -> Result<T> {
    request.encode(Correlation(0), connection.out());
    connection.call(|bytes| {
        let Some((frame, used)) = Frame::read(bytes, FRAME_BYTES_MAX)? else {
            return Ok(None);
        };
        let answer = Response::decode(&frame)?;
        if let Response::Error { code, text } | Response::Fault { code, text } = &answer {
            bail!("the broker refuses: {code}: {text}");
        }
        Ok(Some(match read(&answer)? {
            Found::Answer(found) => (found, used),
            Found::Early(found) => (found, 0),
        }))
    })
}

/// Hands every whole frame in `bytes` to `read`, and returns how many bytes they were.
fn each_frame(
    bytes: &[u8],
    mut read: impl FnMut(Correlation, &Response<'_>) -> Result<()>,
) -> Result<usize> {
    let mut done = 0;
    while let Some((frame, used)) = Frame::read(&bytes[done..], FRAME_BYTES_MAX)? {
        let answer = Response::decode(&frame)?;
        if let Response::Fault { code, text } = &answer {
            bail!("the broker ends the connection: {code}: {text}");
        }
        read(frame.correlation, &answer)?;
        done += used;
    }
    Ok(done)
}

/// The configuration of a memory-only queue.
const IN_MEMORY: QueueConfig = QueueConfig {
    storage: Storage::Memory,
    ..QueueConfig::PLAIN
};
