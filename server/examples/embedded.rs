//! A broker inside a program: it opens no port and no socket, and needs no network.
//!
//! Run it with `cargo run --example embedded -- DIRECTORY`; run it again, and the queue is still
//! there.

use std::error::Error;
use std::path::Path;

use corelane::Embedded;
use corelane_client::Message;

/// What this example tells when it is done.
#[derive(Debug)]
pub(crate) struct Told {
    /// The first orders, as they came.
    pub(crate) orders: Vec<String>,
    /// Messages that the queue has had, those of earlier runs included.
    pub(crate) ever: u64,
}

#[allow(dead_code, reason = "a test runs the rest of this file without it")]
#[expect(clippy::print_stdout, reason = "it shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.ok_or("usage: embedded DIRECTORY")?;
    let told = run(Path::new(&directory))?;
    for order in told.orders {
        println!("{order}");
    }
    println!("{} messages so far", told.ever);
    Ok(())
}

/// Starts a broker, sends through it, receives from it, stops it.
pub(crate) fn run(directory: &Path) -> Result<Told, Box<dyn Error>> {
    // Timers are all that the client needs of a runtime here; where the program has a network of
    // its own, `enable_all` does as well.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let broker = Embedded::builder(directory).start()?;
        let client = broker.client().await?;

        let producer = client.producer("orders").build()?;
        for number in 1..=3 {
            let message = Message::new(format!("order {number}"));
            let receipt = producer.enqueue(&message).await.into_result()?;
            assert_eq!(receipt.class, corelane_client::Class::Durable);
        }
        let tally = producer.close().await;
        assert_eq!(tally.confirmed, 3);

        let mut consumer = client.consumer("orders").subscribe().await?;
        let mut orders = Vec::new();
        while orders.len() < 3 {
            let delivery = consumer.next().await.ok_or("the stream ended")??;
            orders.push(String::from_utf8_lossy(delivery.body()).into_owned());
            delivery.ack().await?;
        }
        consumer.close().await?;

        let ever = client.admin().queue_show("orders").await?.end.0;
        client.close().await;
        broker.stop().await?;
        Ok(Told { orders, ever })
    })
}
