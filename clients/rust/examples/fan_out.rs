//! Fan-out: one queue of events, several services that each get all of them, and dashboards that watch.
//!
//! With a broker on this machine: `cargo run -p corelane-client --example fan_out [HOST:PORT]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use corelane_client::{
    Client, Consumer, Contract, Error, Message, Start, SubscriptionConfig, SubscriptionOptions,
};
use tokio::task::JoinSet;

const QUEUE: &str = "events";
const EVENTS: u64 = 500;
const SERVICES: [&str; 3] = ["billing", "mail", "search"];
const DASHBOARDS: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:7400");
    let client = Client::connect(address).await?;
    let admin = client.admin();
    // Each service has a subscription of its own: the queue keeps an event until all of them are done with it.
    for service in SERVICES {
        let start = Some(Start::Earliest);
        let config = SubscriptionConfig::default();
        let options = SubscriptionOptions { start, config };
        admin.subscription(QUEUE, service).create(options).await?;
    }
    // Nothing is kept for dashboards: they get what comes while somebody looks at them.
    let config = SubscriptionConfig {
        contract: Contract::Broadcast,
        ..SubscriptionConfig::default()
    };
    let options = SubscriptionOptions {
        start: None,
        config,
    };
    admin.subscription(QUEUE, "live").create(options).await?;

    let mut work = JoinSet::new();
    for _ in 0..DASHBOARDS {
        let events = client
            .consumer(QUEUE)
            .subscription("live")
            .subscribe()
            .await?;
        work.spawn(watch(events));
    }
    for service in SERVICES {
        // Two workers share the events of a service.
        for _ in 0..2 {
            let events = client
                .consumer(QUEUE)
                .subscription(service)
                .credit(50)
                .subscribe();
            work.spawn(serve(events.await?));
        }
    }
    let producer = client.producer(QUEUE).build()?;
    let mut pending = Vec::new();
    for number in 0..EVENTS {
        pending.push(
            producer
                .send(&Message::new(format!("event {number}")))
                .await?,
        );
    }
    for receipt in pending {
        receipt.await.into_result()?;
    }
    println!("{EVENTS} events enqueued once");

    for service in SERVICES {
        let subscription = admin.subscription(QUEUE, service);
        while subscription.show().await?.done < EVENTS {
            tokio::task::yield_now().await;
        }
        println!("{service} has done {EVENTS}");
    }
    // Workers go on for ever; dashboards end when they have seen the last event.
    let mut seen = 0;
    while seen < DASHBOARDS {
        if let Some(events) = work.join_next().await.transpose()? {
            println!("a dashboard has seen {}", events?);
            seen += 1;
        }
    }
    work.shutdown().await;
    let kept = admin.queue_show(QUEUE).await?;
    println!("the queue keeps {} events", kept.end.0 - kept.start.0);
    client.close().await;
    Ok(())
}

/// Works on events until it is told to stop.
async fn serve(mut events: Consumer) -> Result<u64, Error> {
    let mut done = 0;
    while let Some(event) = events.next().await.transpose()? {
        event.ack().await?;
        done += 1;
    }
    Ok(done)
}

/// Shows every event once, up to the last one.
async fn watch(mut events: Consumer) -> Result<u64, Error> {
    let mut seen = 0;
    while seen < EVENTS
        && let Some(event) = events.next().await.transpose()?
    {
        // There is nothing to acknowledge.
        drop(event);
        seen += 1;
    }
    Ok(seen)
}
