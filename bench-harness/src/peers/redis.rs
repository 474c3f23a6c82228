//! Redis: a stream as the queue, a consumer group as its subscription.
//!
//! A consumer has one `XREADGROUP` unanswered at a time, which waits for messages and takes up to its credit of them;
//! the acks of what it took go out before the next one, because nothing behind a waiting read is looked at.

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
    ask_version(Command::new(find(PROGRAM)?).arg("--version"), "v=")
}

pub(super) fn start(setting: &Setting<'_>) -> Result<Server> {
    let port = free_port()?;
    let (log, sync) = match setting.class {
        Class::Durable => ("yes", "always"),
        Class::Async => ("yes", "everysec"),
        Class::Memory => ("no", "no"),
    };
    let mut command = Command::new(find(PROGRAM)?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--dir").arg(setting.folder);
    command.args(["--save", "", "--appendonly", log, "--appendfsync", sync]);
    let mut process = Process::start(&mut command, setting.folder.join("log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until_open(&mut process, PROGRAM, address)?;
    Ok(Server {
        peer: Peer::Redis,
        processes: vec![process],
        address,
        configuration: vec![shown(&command)],
    })
}

/// A running server.
#[derive(Debug)]
pub(super) struct Redis {
    pub(super) address: SocketAddr,
}

impl Broker for Redis {
    type Producers = StreamProducers;
    type Consumers = StreamConsumers;

    fn prepare(&mut self, plan: &Plan) -> Result<String> {
        let mut connection = Connection::open(self.address)?;
        let stream = plan.queue(0);
        let create = ["XGROUP", "CREATE", &stream, GROUP, "0", "MKSTREAM"];
        put(connection.out(), &create.map(str::as_bytes));
        connection.call(|bytes| {
            let mut lines = Lines::new(bytes);
            let Some(line) = lines.line()? else {
                return Ok(None);
            };
            if line != "+OK" {
                bail!("the group is not made: {line}");
            }
            Ok(Some(((), lines.used())))
        })?;
        Ok("redis".to_owned())
    }

    fn producers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Producers)> {
        let protocol = StreamProducers::new(&plan.queue(0));
        Ok((Connection::open(self.address)?, protocol))
    }

    fn consumers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Consumers)> {
        let mut connection = Connection::open(self.address)?;
        let name = format!("{indices:?}");
        let mut protocol = StreamConsumers::new(&plan.queue(0), &name, plan.credit);
        protocol.ack(connection.out());
        Ok((connection, protocol))
    }

    fn clear(&mut self, _: &Plan) -> Result<()> {
        // The server goes with its folder.
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct StreamProducers {
    stream: String,
    /// Of the enqueues that are unanswered, in their order.
    slots: VecDeque<u32>,
}

impl StreamProducers {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            slots: VecDeque::new(),
        }
    }
}

impl Producers for StreamProducers {
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let stream = self.stream.as_bytes();
        put(out, &[b"XADD", stream, b"*", b"b", batch.bodies]);
        self.slots.push_back(batch.slot);
    }

    fn read(&mut self, bytes: &[u8], _: &mut Vec<u8>, answers: &mut Vec<Answer>) -> Result<usize> {
        let mut lines = Lines::new(bytes);
        let mut done = 0;
        while let Some(line) = lines.line()? {
            let is_confirmed = line.starts_with('$');
            if is_confirmed && lines.line()?.is_none() {
                break;
            }
            let slot = self.slots.pop_front();
            let slot = slot.with_context(|| format!("nobody asked for {line:?}"))?;
            answers.push(if is_confirmed {
                Answer::Confirmed(slot)
            } else {
                Answer::Refused(slot, line.to_owned())
            });
            done = lines.used();
        }
        Ok(done)
    }
}

#[derive(Debug)]
pub(super) struct StreamConsumers {
    stream: String,
    name: String,
    count: String,
    /// Of messages that are to be acked.
    ids: Vec<String>,
    is_reading: bool,
    /// Messages of the answer to the read that are still to come.
    left: u32,
    /// Acks that are unanswered.
    acks: u32,
    is_leaving: bool,
}

impl Consumers for StreamConsumers {
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
        if !self.ids.is_empty() {
            let mut words = vec![b"XACK", self.stream.as_bytes(), GROUP.as_bytes()];
            words.extend(self.ids.iter().map(String::as_bytes));
            put(out, &words);
            self.ids.clear();
            self.acks += 1;
        }
        if !self.is_reading && !self.is_leaving {
            let words = [
                "XREADGROUP",
                "GROUP",
                GROUP,
                &self.name,
                "COUNT",
                &self.count,
                "BLOCK",
                "0",
                "STREAMS",
                &self.stream,
                ">",
            ];
            put(out, &words.map(str::as_bytes));
            self.is_reading = true;
        }
    }

    fn leave(&mut self, _: &mut Vec<u8>) {
        // A read that waits cannot be taken back; it ends with the connection.
        self.is_leaving = true;
    }

    fn has_left(&self) -> bool {
        self.is_leaving && self.acks == 0 && self.left == 0
    }
}

impl StreamConsumers {
    pub(super) fn new(stream: &str, name: &str, count: u32) -> Self {
        Self {
            stream: stream.to_owned(),
            name: name.to_owned(),
            count: count.to_string(),
            ids: Vec::new(),
            is_reading: false,
            left: 0,
            acks: 0,
            is_leaving: false,
        }
    }

    /// Reads the head of an answer, or one message of it; none if it is not whole.
    fn read_one(
        &mut self,
        lines: &mut Lines<'_>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<Option<()>> {
        if self.left > 0 {
            return self.read_message(lines, arrivals);
        }
        let Some(line) = lines.line()? else {
            return Ok(None);
        };
        match line.split_at_checked(1) {
            Some((":", _)) => self.acks = self.acks.saturating_sub(1),
            // One stream: its name, and its messages.
            Some(("*", "1")) => {
                for _ in 0..3 {
                    if lines.line()?.is_none() {
                        return Ok(None);
                    }
                }
                let Some(count) = lines.line()? else {
                    return Ok(None);
                };
                self.left = number(count.strip_prefix('*'))?;
            }
            _ => bail!("a consumer gets {line:?}"),
        }
        Ok(Some(()))
    }

    /// A message: its id, and the name and value of its only field.
    fn read_message(
        &mut self,
        lines: &mut Lines<'_>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<Option<()>> {
        let mut head = [""; 7];
        for line in &mut head {
            let Some(found) = lines.line()? else {
                return Ok(None);
            };
            *line = found;
        }
        let ["*2", _, id, "*2", _, _, length] = head else {
            bail!("a message with the head {head:?}");
        };
        let Some(body) = lines.body(number(length.strip_prefix('$'))?)? else {
            return Ok(None);
        };
        arrivals(Arrival::Message(Delivered {
            consumer: 0,
            body,
            offset: None,
            is_again: false,
        }));
        self.ids.push(id.to_owned());
        self.left -= 1;
        self.is_reading = self.left > 0;
        Ok(Some(()))
    }
}

/// Encodes a command.
fn put(out: &mut Vec<u8>, words: &[&[u8]]) {
    write!(out, "*{}\r\n", words.len()).expect("a vector takes all bytes");
    for word in words {
        write!(out, "${}\r\n", word.len()).expect("a vector takes all bytes");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

const PROGRAM: &str = "redis-server";
const GROUP: &str = "workers";
