//! The command line: one binary is broker, producer, consumer and administrator.
//!
//! Data goes to stdout, everything else to stderr. Every command ends with one of the codes of
//! [`exit::CODES`], whatever the output format, and none asks anything unless stdin is a terminal.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use corelane::config::quantity::{QuantityError, parse_duration};
use corelane_client::Client;

use self::exit::Failure;
use self::output::Format;

mod aside;
mod backup;
mod config;
mod consent;
mod dequeue;
mod doctor;
mod dump;
mod enqueue;
mod exit;
mod lines;
mod load;
mod log;
mod logs;
mod output;
mod peek;
mod queue;
mod read;
mod schedule;
mod serve;
mod settings;
mod shown;
mod start;
mod subscription;

/// A durable message broker with one pinned loop per core.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, disable_help_subcommand = false)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command that talks to a broker takes.
#[derive(Debug, Args)]
struct Common {
    /// Address of the broker's shared port.
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "CORELANE_SERVER",
        default_value = "127.0.0.1:7400"
    )]
    server: String,
    /// Form of what goes to stdout.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// How long a call may take, waiting for messages apart.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker.
    Serve(Box<serve::Serve>),
    /// Put messages into a queue: one body, or a line each from stdin.
    #[command(visible_alias = "pub")]
    Enqueue(enqueue::Enqueue),
    /// Take messages out of a queue; each is acknowledged once it is printed.
    #[command(visible_alias = "sub")]
    Dequeue(dequeue::Dequeue),
    /// Read the messages of a reader's subscription in order, and move its checkpoint behind each that is printed.
    Read(read::Read),
    /// Look at messages without taking them.
    Peek(peek::Peek),
    /// Write every message that a queue keeps as a line of JSON; takes nothing.
    Dump(dump::Dump),
    /// Put the messages of a dump into a queue.
    Load(load::Load),
    /// List, show, create and delete queues.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// List, show, create, change and delete subscriptions.
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    /// Let a subscription give nothing out, until it is resumed.
    Pause(subscription::Pause),
    /// Let a subscription give messages out again.
    Resume(subscription::Named),
    /// Finish messages of a subscription without delivering them.
    Purge(subscription::Purge),
    /// List, show and give back messages that failed too often, or were rejected for good.
    #[command(subcommand)]
    Dead(aside::Dead),
    /// List, show and give back messages that a consumer set aside.
    #[command(subcommand)]
    Park(aside::Park),
    /// List, cancel and move messages that are not due yet.
    #[command(subcommand)]
    Schedule(schedule::Scheduled),
    /// Look at the files of a data directory that no broker uses.
    #[command(subcommand)]
    Log(logs::Logs),
    /// Copy a data directory, while a broker uses it or not.
    Backup(backup::Backup),
    /// Make a data directory of a backup.
    Restore(backup::Restore),
    /// Check this machine for what a broker needs; takes the arguments of `serve`.
    Doctor(Box<doctor::Doctor>),
    /// Print, check and show the configuration of a broker.
    #[command(subcommand)]
    Config(config::Configuration),
    /// The exit codes of all commands.
    #[command(hide = true, long_about = exit::text())]
    ExitCodes,
}

/// Runs the command of the process's arguments.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            error.print().unwrap_or_default();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            });
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => failure.report(),
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let common = cli.common;
    match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Enqueue(enqueue) => on_runtime(enqueue.run(&common)),
        Command::Dequeue(dequeue) => on_runtime(dequeue.run(&common)),
        Command::Read(read) => on_runtime(read.run(&common)),
        Command::Peek(peek) => on_runtime(peek.run(&common)),
        Command::Dump(dump) => on_runtime(dump.run(&common)),
        Command::Load(load) => on_runtime(load.run(&common)),
        Command::Queue(queue) => on_runtime(queue.run(&common)),
        Command::Subscription(subscription) => on_runtime(subscription.run(&common)),
        Command::Pause(pause) => on_runtime(pause.run(&common)),
        Command::Resume(named) => on_runtime(named.resume(&common)),
        Command::Purge(purge) => on_runtime(purge.run(&common)),
        Command::Dead(dead) => on_runtime(dead.run(&common)),
        Command::Park(park) => on_runtime(park.run(&common)),
        Command::Schedule(schedule) => on_runtime(schedule.run(&common)),
        Command::Log(logs) => logs.run(&common),
        Command::Backup(backup) => backup.run(&common),
        Command::Restore(restore) => restore.run(&common),
        Command::Doctor(doctor) => doctor.run(&common),
        Command::Config(config) => config.run(&common),
        Command::ExitCodes => output::line(&exit::text()),
    }
}

fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("cannot start the client: {error}")))?;
    runtime.block_on(command)
}

impl Common {
    /// Connects to the broker; one attempt, because a person or a script is waiting.
    async fn connect(&self) -> Result<Client, Failure> {
        let client = Client::builder()
            .name("corelane-cli")
            .call_timeout(self.timeout)
            .wait_for_broker(Duration::ZERO)
            .connect(&self.server)
            .await?;
        Ok(client)
    }
}

/// A duration among the arguments.
fn duration(text: &str) -> Result<Duration, QuantityError> {
    parse_duration(text)
}

/// A hint for people; silent where stderr is a file or a pipe.
fn chat(text: &str) {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() {
        note(text);
    }
}

/// A line for people or a log.
fn note(text: &str) {
    use std::io::Write as _;
    // A closed stderr leaves nobody to tell.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}
