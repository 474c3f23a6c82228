//! NATS: a `JetStream` stream with work-queue retention, and a durable consumer that pushes.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::lines::{Lines, number};
use super::{Class, Peer, Server, Setting, ask_version, find, free_port, shown, wait_until_open};
use crate::load::{
    Answer, Arrival, Batch, Broker, Connection, Consumers, Delivered, Plan, Producers,
};
use crate::process::Process;

pub(super) fn version() -> Result<String> {
    ask_version(Command::new(find(PROGRAM)?).arg("--version"), ": v")
}

pub(super) fn start(setting: &Setting<'_>) -> Result<Server> {
    let program = find(PROGRAM)?;
    let port = free_port()?;
    let sync = match setting.class {
        Class::Durable => "sync_interval: always",
        // As it is without a word: two minutes.
        Class::Async | Class::Memory => "",
    };
    let store = setting.folder.join("store");
    let lines = [
        format!("listen: 127.0.0.1:{port}"),
        format!("jetstream {{ store_dir: {:?}", store.display().to_string()),
        format!("{sync} }}"),
    ];
    let file = setting.folder.join("nats.conf");
    fs::write(&file, lines.join("\n"))?;
    let check = Command::new(&program)
        .arg("-t")
        .arg("-c")
        .arg(&file)
        .output()?;
    ensure!(
        check.status.success(),
        "it refuses {sync:?}: {}",
        String::from_utf8_lossy(&check.stderr).trim()
    );
    let mut command = Command::new(program);
    command.arg("-c").arg(&file);
    let mut process = Process::start(&mut command, setting.folder.join("log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until_open(&mut process, PROGRAM, address)?;
    Ok(Server {
        peer: Peer::Nats,
        processes: vec![process],
        address,
        configuration: vec![shown(&command), lines.join(" ")],
    })
}

/// A running server.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) address: SocketAddr,
}

impl Nats {
    /// Connects and greets.
    fn open(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        connection.out().extend_from_slice(GREETING.as_bytes());
        connection.call(|bytes| {
            let mut lines = Lines::new(bytes);
            while let Some(line) = lines.line()? {
                if line == "PONG" {
                    return Ok(Some(((), lines.used())));
                }
                ensure!(line.starts_with("INFO "), "a greeting gets {line:?}");
            }
            Ok(None)
        })?;
        Ok(connection)
    }

    /// Calls the API of `JetStream`.
    fn ask(&self, subject: &str, request: &Value) -> Result<()> {
        let mut connection = self.open()?;
        let request = request.to_string();
        let length = request.len();
        write!(
            connection.out(),
            "SUB answer 1\r\nPUB $JS.API.{subject} answer {length}\r\n{request}\r\n"
        )?;
        let answer = connection.call(|bytes| {
            let mut lines = Lines::new(bytes);
            while let Some(event) = event(&mut lines)? {
                if let Event::Message { body, .. } = event {
                    return Ok(Some((serde_json::from_slice::<Value>(body)?, lines.used())));
                }
            }
            Ok(None)
        })?;
        ensure!(
            answer["error"].is_null(),
            "{subject} is refused: {}",
            answer["error"]
        );
        Ok(())
    }
}

impl Broker for Nats {
    type Producers = StreamProducers;
    type Consumers = StreamConsumers;

    fn prepare(&mut self, plan: &Plan) -> Result<String> {
        let stream = plan.queue(0);
        let storage = if plan.is_memory_only {
            "memory"
        } else {
            "file"
        };
        let request = json!({
            "name": stream, "subjects": [stream], "retention": "workqueue", "storage": storage,
            "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        });
        self.ask(&format!("STREAM.CREATE.{stream}"), &request)?;
        let waiting = plan.credit * plan.consumers.max(1);
        let request = json!({"stream_name": stream, "config": {
            "durable_name": WORKERS, "deliver_subject": delivery(&stream), "deliver_group": WORKERS,
            "ack_policy": "explicit", "ack_wait": u64::from(plan.lease_ms) * 1_000_000,
            "deliver_policy": "all", "replay_policy": "instant", "max_deliver": -1,
            "max_ack_pending": waiting,
        }});
        self.ask(
            &format!("CONSUMER.DURABLE.CREATE.{stream}.{WORKERS}"),
            &request,
        )?;
        Ok("nats".to_owned())
    }

    fn producers(&mut self, plan: &Plan, indices: &[u32]) -> Result<(Connection, Self::Producers)> {
        let mut connection = self.open()?;
        let inbox = format!("_INBOX.{:x}.{}", plan.run, indices.first().unwrap_or(&0));
        write!(connection.out(), "SUB {inbox}.* 1\r\n")?;
        Ok((connection, StreamProducers::new(&plan.queue(0), &inbox)))
    }

    fn consumers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Consumers)> {
        let mut connection = self.open()?;
        let subject = delivery(&plan.queue(0));
        write!(connection.out(), "SUB {subject} {WORKERS} 1\r\n")?;
        Ok((connection, StreamConsumers::default()))
    }

    fn clear(&mut self, plan: &Plan) -> Result<()> {
        self.ask(&format!("STREAM.DELETE.{}", plan.queue(0)), &json!({}))
    }
}

#[derive(Debug)]
pub(super) struct StreamProducers {
    subject: String,
    /// Answers come to subjects below it, whose last word is the slot.
    inbox: String,
}

impl StreamProducers {
    pub(super) fn new(subject: &str, inbox: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            inbox: inbox.to_owned(),
        }
    }
}

impl Producers for StreamProducers {
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let (subject, inbox) = (&self.subject, &self.inbox);
        let (slot, length) = (batch.slot, batch.bodies.len());
        write!(out, "PUB {subject} {inbox}.{slot} {length}\r\n").expect("a vector takes all bytes");
        out.extend_from_slice(batch.bodies);
        out.extend_from_slice(b"\r\n");
    }

    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<usize> {
        let mut lines = Lines::new(bytes);
        let mut done = 0;
        while let Some(event) = event(&mut lines)? {
            match event {
                Event::Message { subject, body, .. } => {
                    let slot = number(subject.rsplit('.').next())?;
                    answers.push(answer(slot, body)?);
                }
                Event::Ping => out.extend_from_slice(PONG),
                Event::Pong | Event::Info => {}
            }
            done = lines.used();
        }
        Ok(done)
    }
}

/// The receipt of an enqueue names stream and sequence; anything else is a refusal.
fn answer(slot: u32, body: &[u8]) -> Result<Answer> {
    let text = std::str::from_utf8(body)?;
    let is_confirmed = text.contains("\"seq\":") && !text.contains("\"error\":");
    Ok(if is_confirmed {
        Answer::Confirmed(slot)
    } else {
        Answer::Refused(slot, text.to_owned())
    })
}

#[derive(Debug, Default)]
pub(super) struct StreamConsumers {
    /// Subjects that acks go to.
    acks: Vec<String>,
    is_leaving: bool,
    has_left: bool,
}

impl Consumers for StreamConsumers {
    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<usize> {
        let mut lines = Lines::new(bytes);
        let mut done = 0;
        while let Some(event) = event(&mut lines)? {
            match event {
                Event::Message { reply, body, .. } => {
                    arrivals(Arrival::Message(delivered(reply, body)?));
                    self.acks.push(reply.to_owned());
                }
                Event::Ping => out.extend_from_slice(PONG),
                Event::Pong => self.has_left = self.is_leaving,
                Event::Info => {}
            }
            done = lines.used();
        }
        Ok(done)
    }

    fn ack(&mut self, out: &mut Vec<u8>) {
        for subject in self.acks.drain(..) {
            write!(out, "PUB {subject} 0\r\n\r\n").expect("a vector takes all bytes");
        }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if !self.is_leaving {
            self.is_leaving = true;
            // Acks have no answer; this one comes when the server has read them.
            out.extend_from_slice(b"UNSUB 1\r\nPING\r\n");
        }
    }

    fn has_left(&self) -> bool {
        self.has_left
    }
}

/// The subject for the ack says how often the message was delivered, and its place:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERIES.PLACE...`.
fn delivered<'a>(reply: &str, body: &'a [u8]) -> Result<Delivered<'a>> {
    let mut words = reply.split('.').skip(4);
    let deliveries: u32 = number(words.next())?;
    Ok(Delivered {
        consumer: 0,
        body,
        offset: Some(number(words.next())?),
        is_again: deliveries > 1,
    })
}

#[derive(Debug)]
enum Event<'a> {
    Message {
        subject: &'a str,
        /// Where an answer goes; empty if none is asked for.
        reply: &'a str,
        body: &'a [u8],
    },
    Ping,
    Pong,
    Info,
}

/// What the server says next; none if it is not whole.
fn event<'a>(lines: &mut Lines<'a>) -> Result<Option<Event<'a>>> {
    let Some(line) = lines.line()? else {
        return Ok(None);
    };
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    match verb {
        "MSG" | "HMSG" => {
            let [subject, .., length] = words[..] else {
                bail!("a message without a length: {line:?}");
            };
            let reply = match (verb, &words[..]) {
                ("MSG", [_, _, reply, _]) | ("HMSG", [_, _, reply, _, _]) => reply,
                _ => "",
            };
            let body = lines.body(number(Some(length))?)?;
            Ok(body.map(|body| Event::Message {
                subject,
                reply,
                body,
            }))
        }
        "PING" => Ok(Some(Event::Ping)),
        "PONG" => Ok(Some(Event::Pong)),
        "INFO" => Ok(Some(Event::Info)),
        _ => bail!("the server says {line:?}"),
    }
}

fn delivery(stream: &str) -> String {
    format!("deliveries.{stream}")
}

const PROGRAM: &str = "nats-server";
const WORKERS: &str = "workers";
const PONG: &[u8] = b"PONG\r\n";
/// With `no_responders` an enqueue that no stream takes is answered too.
const GREETING: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\nPING\r\n";
