//! `RabbitMQ`: a quorum queue, publisher confirms, and deliveries up to a prefetch.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::amqp::{self, Frame, Method};
use super::{Class, Peer, Server, Setting, find, free_port, wait_until_open};
use crate::load::{
    Answer, Arrival, Batch, Broker, Connection, Consumers, Delivered, Plan, Producers,
};
use crate::process::Process;

/// The scripts lie below a folder with the version in its name; asking them starts a daemon.
pub(super) fn version() -> Result<String> {
    let script = program("rabbitmq-server")?.canonicalize()?;
    let mut folders = script.iter().filter_map(|name| name.to_str());
    let version = folders.find_map(|name| name.strip_prefix("rabbitmq_server-"));
    let version = version.with_context(|| format!("{} has no version", script.display()))?;
    Ok(version.to_owned())
}

pub(super) fn start(setting: &Setting<'_>) -> Result<Server> {
    if setting.class != Class::Durable {
        bail!("a quorum queue confirms nothing before it is on stable storage");
    }
    let [port, distribution_port, epmd_port] = [free_port()?, free_port()?, free_port()?];
    let epmd_port = epmd_port.to_string();
    let mut epmd = Command::new(find("epmd")?);
    epmd.args(["-address", "127.0.0.1", "-port", &epmd_port]);
    let epmd = Process::start(&mut epmd, setting.folder.join("epmd.log"))?;
    let file = setting.folder.join("rabbitmq.conf");
    let lines = [
        format!("listeners.tcp.local = 127.0.0.1:{port}"),
        "log.console = true".to_owned(),
        "log.file = false".to_owned(),
    ];
    fs::write(&file, lines.join("\n") + "\n")?;
    fs::write(setting.folder.join("enabled_plugins"), "[].")?;
    let mut command = Command::new(program("rabbitmq-server")?);
    for (name, value) in environment(setting.folder) {
        command.env(name, value);
    }
    command.env("ERL_EPMD_PORT", epmd_port);
    command.env("RABBITMQ_DIST_PORT", distribution_port.to_string());
    let mut process = Process::start(&mut command, setting.folder.join("log"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until_open(&mut process, "rabbitmq-server", address)?;
    Ok(Server {
        peer: Peer::Rabbitmq,
        processes: vec![process, epmd],
        address,
        configuration: vec![lines.join("; "), "x-queue-type: quorum".to_owned()],
    })
}

/// The server's own start script: that of the distribution on the path starts it as another user.
fn program(name: &str) -> Result<PathBuf> {
    let found = find(name)?;
    let own = Path::new(SCRIPTS).join(name);
    Ok(if own.is_file() { own } else { found })
}

/// Everything of one start lies in its folder.
fn environment(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("HOME", folder.to_owned()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODENAME", "compare@localhost".into()),
        ("RABBITMQ_CONF_ENV_FILE", folder.join("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf")),
        (
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            folder.join("enabled_plugins"),
        ),
        ("RABBITMQ_MNESIA_BASE", folder.join("data")),
        ("RABBITMQ_LOG_BASE", folder.join("logs")),
        ("RABBITMQ_PID_FILE", folder.join("pid")),
    ]
}

/// A running server.
#[derive(Debug)]
pub(super) struct Rabbitmq {
    pub(super) address: SocketAddr,
}

impl Rabbitmq {
    /// Connects, greets, and opens a channel.
    fn open(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        connection.out().extend_from_slice(amqp::PROTOCOL);
        expect(&mut connection, amqp::CONNECTION_START)?;
        amqp::put_method(connection.out(), 0, amqp::CONNECTION_START_OK, |out| {
            amqp::put_long(out, b"");
            amqp::put_short(out, "PLAIN");
            amqp::put_long(out, b"\0guest\0guest");
            amqp::put_short(out, "en_US");
        });
        expect(&mut connection, amqp::CONNECTION_TUNE)?;
        amqp::put_method(connection.out(), 0, amqp::CONNECTION_TUNE_OK, |out| {
            // One channel; no heartbeats, which the kernel's end of a connection makes up for.
            out.extend_from_slice(&1_u16.to_be_bytes());
            out.extend_from_slice(&amqp::FRAME_BYTES_MAX.to_be_bytes());
            out.extend_from_slice(&0_u16.to_be_bytes());
        });
        amqp::put_method(connection.out(), 0, amqp::CONNECTION_OPEN, |out| {
            amqp::put_short(out, "/");
            out.extend_from_slice(&[0, 0]);
        });
        expect(&mut connection, amqp::CONNECTION_OPEN_OK)?;
        let no_name = |out: &mut Vec<u8>| out.push(0);
        amqp::put_method(connection.out(), CHANNEL, amqp::CHANNEL_OPEN, no_name);
        expect(&mut connection, amqp::CHANNEL_OPEN_OK)?;
        Ok(connection)
    }
}

/// Sends what is encoded and reads the method that answers it.
fn expect(connection: &mut Connection, expected: Method) -> Result<()> {
    connection.call(|bytes| {
        let Some((frame, used)) = amqp::frame(bytes)? else {
            return Ok(None);
        };
        let is_expected = matches!(frame, Frame::Method(method, _) if method == expected);
        ensure!(is_expected, "instead of {expected:?} comes {frame:?}");
        Ok(Some(((), used)))
    })
}

impl Broker for Rabbitmq {
    type Producers = QuorumProducers;
    type Consumers = QuorumConsumers;

    fn prepare(&mut self, plan: &Plan) -> Result<String> {
        let mut connection = self.open()?;
        amqp::put_method(connection.out(), CHANNEL, amqp::QUEUE_DECLARE, |out| {
            out.extend_from_slice(&[0, 0]);
            amqp::put_short(out, &plan.queue(0));
            out.push(DURABLE);
            let mut table = Vec::new();
            amqp::put_short(&mut table, "x-queue-type");
            table.push(b'S');
            amqp::put_long(&mut table, b"quorum");
            amqp::put_long(out, &table);
        });
        expect(&mut connection, amqp::QUEUE_DECLARE_OK)?;
        Ok("rabbitmq".to_owned())
    }

    fn producers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Producers)> {
        let mut connection = self.open()?;
        let wait = |out: &mut Vec<u8>| out.push(0);
        amqp::put_method(connection.out(), CHANNEL, amqp::CONFIRM_SELECT, wait);
        expect(&mut connection, amqp::CONFIRM_SELECT_OK)?;
        Ok((connection, QuorumProducers::new(&plan.queue(0))))
    }

    fn consumers(&mut self, plan: &Plan, _: &[u32]) -> Result<(Connection, Self::Consumers)> {
        let mut connection = self.open()?;
        let prefetch = u16::try_from(plan.credit).context("the prefetch is a u16")?;
        amqp::put_method(connection.out(), CHANNEL, amqp::BASIC_QOS, |out| {
            out.extend_from_slice(&0_u32.to_be_bytes());
            out.extend_from_slice(&prefetch.to_be_bytes());
            out.push(0);
        });
        expect(&mut connection, amqp::BASIC_QOS_OK)?;
        amqp::put_method(connection.out(), CHANNEL, amqp::BASIC_CONSUME, |out| {
            out.extend_from_slice(&[0, 0]);
            amqp::put_short(out, &plan.queue(0));
            amqp::put_short(out, CONSUMER);
            out.push(0);
            amqp::put_long(out, b"");
        });
        expect(&mut connection, amqp::BASIC_CONSUME_OK)?;
        Ok((connection, QuorumConsumers::default()))
    }

    fn clear(&mut self, plan: &Plan) -> Result<()> {
        let mut connection = self.open()?;
        amqp::put_method(connection.out(), CHANNEL, amqp::QUEUE_DELETE, |out| {
            out.extend_from_slice(&[0, 0]);
            amqp::put_short(out, &plan.queue(0));
            out.push(0);
        });
        expect(&mut connection, amqp::QUEUE_DELETE_OK)
    }
}

#[derive(Debug)]
pub(super) struct QuorumProducers {
    queue: String,
    /// Enqueues have tags in their order, from 1; this is that of the first slot.
    first_tag: u64,
    /// None once it is answered.
    slots: VecDeque<Option<u32>>,
}

impl Producers for QuorumProducers {
    fn enqueue(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        amqp::put_message(out, CHANNEL, &self.queue, batch.bodies);
        self.slots.push_back(Some(batch.slot));
    }

    fn read(&mut self, bytes: &[u8], _: &mut Vec<u8>, answers: &mut Vec<Answer>) -> Result<usize> {
        let mut done = 0;
        while let Some((frame, used)) = amqp::frame(&bytes[done..])? {
            let Frame::Method(method, mut fields) = frame else {
                bail!("a producer gets {frame:?}");
            };
            let (tag, is_multiple) = (fields.u64()?, fields.u8()? & 1 > 0);
            match method {
                amqp::BASIC_ACK => {
                    self.settle(tag, is_multiple, |slot| {
                        answers.push(Answer::Confirmed(slot));
                    })?;
                }
                amqp::BASIC_NACK => {
                    self.settle(tag, is_multiple, |slot| {
                        answers.push(Answer::Refused(slot, "basic.nack".to_owned()));
                    })?;
                }
                _ => bail!("a producer gets {method:?}"),
            }
            done += used;
        }
        Ok(done)
    }
}

impl QuorumProducers {
    pub(super) fn new(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            first_tag: 1,
            slots: VecDeque::new(),
        }
    }

    /// Takes the slot of this tag, or of all up to it.
    fn settle(&mut self, tag: u64, is_multiple: bool, mut answer: impl FnMut(u32)) -> Result<()> {
        let index = tag.checked_sub(self.first_tag).map(usize::try_from);
        let index = index.with_context(|| format!("tag {tag} is answered again"))??;
        ensure!(index < self.slots.len(), "tag {tag} is not sent yet");
        let first = if is_multiple { 0 } else { index };
        for slot in self.slots.range_mut(first..=index) {
            slot.take().into_iter().for_each(&mut answer);
        }
        while self.slots.front() == Some(&None) {
            self.slots.pop_front();
            self.first_tag += 1;
        }
        Ok(())
    }
}

/// A delivery of which not all frames have come.
#[derive(Debug)]
struct Coming {
    tag: u64,
    is_again: bool,
    /// Bytes of the whole body; none before its header.
    bytes: Option<usize>,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct QuorumConsumers {
    coming: Option<Coming>,
    /// The last whole message that is to be acked.
    unacked: Option<u64>,
    is_leaving: bool,
    has_left: bool,
}

impl Consumers for QuorumConsumers {
    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
        arrivals: &mut impl FnMut(Arrival<'_>),
    ) -> Result<usize> {
        let mut done = 0;
        while let Some((frame, used)) = amqp::frame(&bytes[done..])? {
            match frame {
                Frame::Method(amqp::BASIC_DELIVER, mut fields) => {
                    fields.short()?;
                    self.coming = Some(Coming {
                        tag: fields.u64()?,
                        is_again: fields.u8()? & 1 > 0,
                        bytes: None,
                        body: Vec::new(),
                    });
                }
                Frame::Method(amqp::BASIC_CANCEL_OK, _) => self.has_left = true,
                Frame::Header(bytes) => {
                    let coming = self.coming.as_mut().context("a header of nothing")?;
                    coming.bytes = Some(usize::try_from(bytes)?);
                }
                Frame::Body(part) => self.on_body(part, arrivals)?,
                Frame::Method(method, _) => bail!("a consumer gets {method:?}"),
            }
            done += used;
        }
        Ok(done)
    }

    fn ack(&mut self, out: &mut Vec<u8>) {
        if let Some(tag) = self.unacked.take() {
            amqp::put_method(out, CHANNEL, amqp::BASIC_ACK, |out| {
                out.extend_from_slice(&tag.to_be_bytes());
                out.push(ALL_UP_TO_IT);
            });
        }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if !self.is_leaving {
            self.is_leaving = true;
            // Acks have no answer; this one comes when the server has read them.
            amqp::put_method(out, CHANNEL, amqp::BASIC_CANCEL, |out| {
                amqp::put_short(out, CONSUMER);
                out.push(0);
            });
        }
    }

    fn has_left(&self) -> bool {
        self.has_left
    }
}

impl QuorumConsumers {
    /// A body comes in one frame unless it is large.
    fn on_body(&mut self, part: &[u8], arrivals: &mut impl FnMut(Arrival<'_>)) -> Result<()> {
        let coming = self.coming.as_mut().context("a body of nothing")?;
        let bytes = coming.bytes.context("a body without a header")?;
        let is_in_one = part.len() == bytes;
        if !is_in_one {
            coming.body.extend_from_slice(part);
        }
        if is_in_one || coming.body.len() >= bytes {
            arrivals(Arrival::Message(Delivered {
                consumer: 0,
                body: if is_in_one { part } else { &coming.body },
                offset: None,
                is_again: coming.is_again,
            }));
            self.unacked = Some(coming.tag);
            self.coming = None;
        }
        Ok(())
    }
}

/// Where the packages of Debian keep what `/usr/sbin` wraps.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const CHANNEL: u16 = 1;
const CONSUMER: &str = "worker";
/// A bit of a declaration.
const DURABLE: u8 = 2;
/// The bit of an ack that settles earlier ones too.
const ALL_UP_TO_IT: u8 = 1;
