//! The tokio face against a scripted broker on a loopback socket.

mod broker;
mod connecting;
mod consuming;
mod producing;
mod subscriptions;

use std::time::Duration;

use crate::{Client, Message};
use broker::Broker;

/// Longer than anything here takes, so that a hanging test ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that comes back quickly.
async fn connect(broker: &Broker) -> Client {
    Client::builder()
        .pauses(Duration::from_millis(1), Duration::from_millis(20))
        .connect(&broker.address)
        .await
        .unwrap()
}

/// Fails instead of hanging.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this takes too long")
}

fn message(body: &str) -> Message {
    Message::new(body)
}
