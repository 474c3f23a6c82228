//! beanstalkd: a tube as the queue.
//!
//! The server answers one command after the other, and a `reserve` that waits holds up all behind it. So a consumer
//! sends its acks, one `reserve` that waits, and behind it some that do not; the next go out when all are answered.
//! There are twice as many when all of them found a message, and as many as found one when not.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::lines::{Lines, number};
use super::{Class, Peer, Server, Setting, ask_version, find, free_port, shown, wait_until_open};
use crate::load::{
    Answer, Arrival, Batch, Broker, Connection, Consumers, Delivered, Plan, Producers,
};
use crate::process::Process;

pub(super) fn version() -> Result<String> {
    ask_version(Command::new(find(PROGRAM)?).arg("-v"), "beanstalkd ")
}

pub(super) fn start(setting: &Setting<'_>) -> Result<Server> {
    let port = free_port()?;
    let sync_ms = match setting.class {
        Class::Durable => Some("0"),
        Class::Async => Some("50"),
        Class::Memory => None,
    };
    let mut command = Command::new(find(PROGRAM)?);
    command.args(["-l", "127.0.0.1", "-p", &port.to_string()]);
    if let Some(sync_ms) = sync_ms {
        command.arg("-b").arg(setting.folder);
        command.args(["-f", sync_ms]);
    }
    command.args(["-z", BODY_BYTES_MAX]);
    let mut process = Process::start(&mut command, setting.folder.join("log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until_open(&mut process, PROGRAM, address)?;
    Ok(Server {
        peer: Peer::Beanstalkd,
        processes: vec![process],
        address,
        configuration: vec![shown(&command)],
    })
}

/// A running server.
#[derive(Debug)]
pub(super) struct Beanstalkd {
    pub(super) address: SocketAddr,
}

impl Beanstalkd {
    /// Connects, and says one line that is answered by one line.
    fn open(&self, line: &str, answer: &str) -> Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        connection.out().extend_from_slice(line.as_bytes());
        connection.call(|bytes| {
            let mut lines = Lines::new(bytes);
            let Some(found) = lines.line()? else {
                return Ok(None);
            };
            if !found.starts_with(answer) {
                bail!("{line:?} is answered by {found:?}");
            }
            Ok(Some(((), lines.used())))
        })?;
        Ok(connection)
    }
}

impl Broker for Beanstalkd {
    type Producers = TubeProducers;
    type Consumers = TubeConsumers;

    fn prepare(&mut self, _: &Plan) -> Result<String> {
        // A tube is there when it is used.
        Ok("beanstalkd".to_owned())
    }

    fn producers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Producers)> {
        let connection = self.open(&format!("use {}\r\n", plan.queue(0)), "USING ")?;
        let lease_seconds = (plan.lease_ms / 1_000).max(1);
        Ok((connection, TubeProducers::new(lease_seconds)))
    }

    fn consumers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Consumers)> {
        let mut connection = self.open(&format!("watch {}\r\n", plan.queue(0)), "WATCHING ")?;
        let mut protocol = TubeConsumers::new(plan.credit);
        protocol.ack(connection.out());
        Ok((connection, protocol))
    }

    fn clear(&mut self, _: &Plan) -> Result<()> {
        // The server goes with its folder.
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct TubeProducers {
    lease_seconds: u32,
    /// Of the enqueues that are unanswered, in their order.
    slots: VecDeque<u32>,
}

impl TubeProducers {
    pub(super) const fn new(lease_seconds: u32) -> Self {
        Self {
            lease_seconds,
            slots: VecDeque::new(),
        }
    }
}

impl Producers for TubeProducers {
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let (seconds, length) = (self.lease_seconds, batch.bodies.len());
        write!(out, "put 0 0 {seconds} {length}\r\n").expect("a vector takes all bytes");
        out.extend_from_slice(batch.bodies);
        out.extend_from_slice(b"\r\n");
        self.slots.push_back(batch.slot);
    }

    fn read(&mut self, bytes: &[u8], _: &mut Vec<u8>, answers: &mut Vec<Answer>) -> Result<usize> {
        let mut lines = Lines::new(bytes);
        while let Some(line) = lines.line()? {
            let slot = self.slots.pop_front();
            let slot = slot.with_context(|| format!("nobody asked for {line:?}"))?;
            answers.push(if line.starts_with("INSERTED ") {
                Answer::Confirmed(slot)
            } else {
                Answer::Refused(slot, line.to_owned())
            });
        }
        Ok(lines.used())
    }
}

#[derive(Debug)]
pub(super) struct TubeConsumers {
    credit: u32,
    /// Of messages that are to be acked.
    ids: Vec<u64>,
    /// Reserves in one go, and how many of the last go found a message.
    reserves: u32,
    found: u32,
    /// Commands of the go that are unanswered; the acks are answered first.
    acks: usize,
    reserves_left: u32,
    is_leaving: bool,
}

impl Consumers for TubeConsumers {
    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<usize> {
        let mut lines = Lines::new(bytes);
        let mut done = 0;
        while self.read_one(&mut lines, arrivals)?.is_some() {
            done = lines.used();
        }
        Ok(done)
    }

    fn ack(&mut self, out: &mut Vec<u8>) {
        if self.acks > 0 || self.reserves_left > 0 {
            return;
        }
        for id in &self.ids {
            write!(out, "delete {id}\r\n").expect("a vector takes all bytes");
        }
        self.acks = self.ids.len();
        self.ids.clear();
        if self.is_leaving {
            return;
        }
        self.reserves = if self.found == self.reserves {
            (self.reserves * 2).min(self.credit)
        } else {
            self.found.max(1)
        };
        out.extend_from_slice(b"reserve\r\n");
        for _ in 1..self.reserves {
            out.extend_from_slice(b"reserve-with-timeout 0\r\n");
        }
        (self.reserves_left, self.found) = (self.reserves, 0);
    }

    fn leave(&mut self, _: &mut Vec<u8>) {
        // A reserve that waits cannot be taken back; it ends with the connection.
        self.is_leaving = true;
    }

    fn has_left(&self) -> bool {
        self.is_leaving && self.acks == 0 && self.ids.is_empty()
    }
}

impl TubeConsumers {
    pub(super) const fn new(credit: u32) -> Self {
        Self {
            credit,
            ids: Vec::new(),
            reserves: 1,
            found: 1,
            acks: 0,
            reserves_left: 0,
            is_leaving: false,
        }
    }

    /// Reads one answer; none if it is not whole.
    fn read_one(
        &mut self,
        lines: &mut Lines<'_>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<Option<()>> {
        let Some(line) = lines.line()? else {
            return Ok(None);
        };
        if self.acks > 0 {
            match line {
                "DELETED" => {}
                // Its lease was over.
                "NOT_FOUND" => arrivals(Arrival::Stale(1)),
                _ => bail!("a delete is answered by {line:?}"),
            }
            self.acks -= 1;
            return Ok(Some(()));
        }
        if let Some(words) = line.strip_prefix("RESERVED ") {
            let mut words = words.split(' ');
            let id = number(words.next())?;
            let Some(body) = lines.body(number(words.next())?)? else {
                return Ok(None);
            };
            arrivals(Arrival::Message(Delivered {
                consumer: 0,
                body,
                offset: None,
                is_again: false,
            }));
            self.ids.push(id);
            self.found += 1;
        } else if line != "TIMED_OUT" && line != "DEADLINE_SOON" {
            bail!("a reserve is answered by {line:?}");
        }
        let left = self.reserves_left.checked_sub(1);
        self.reserves_left = left.with_context(|| format!("nobody asked for {line:?}"))?;
        Ok(Some(()))
    }
}

const PROGRAM: &str = "beanstalkd";
/// The default is 64 KiB, and the generator sends more.
const BODY_BYTES_MAX: &str = "1048576";
