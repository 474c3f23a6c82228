//! The broker of this project, as its users start it.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Peer, Server, Setting, ask_version};
use crate::broker::{self, Broker};

pub(super) fn version(setting: &Setting<'_>) -> Result<String> {
    ask_version(Command::new(setting.corelane).arg("--version"), "corelane ")
}

pub(super) fn start(setting: &Setting<'_>) -> Result<Server> {
    let broker = Broker::start(setting.corelane, setting.folder)
        .with_context(|| format!("cannot start {}", setting.corelane.display()))?;
    let address = broker.address;
    let arguments = broker::arguments(setting.folder, ["127.0.0.1:0"; 2]);
    Ok(Server {
        peer: Peer::Corelane,
        processes: vec![broker.into_process()],
        address,
        configuration: vec![format!("corelane {}", arguments.join(" "))],
    })
}
