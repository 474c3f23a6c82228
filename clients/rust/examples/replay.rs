//! A replay from a checkpoint: a program sums up what is in a queue, stops half way, and goes on where it was.
//!
//! A reader's subscription reads the queue as a log, and the broker keeps how far it has read for good. The program
//! writes its result down, then moves the checkpoint; what it had read and not written down comes again.
//!
//! With a broker on this machine: `cargo run -p corelane-client --example replay [HOST:PORT]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use corelane_client::{
    Client, Contract, Error, Message, Offset, Start, SubscriptionConfig, SubscriptionOptions,
};

const QUEUE: &str = "payments";
const PAYMENTS: u64 = 1_000;
/// The result is written down after so many payments.
const CHAPTER: u64 = 100;

/// What survives the program: in real life a row of a database.
#[derive(Clone, Copy, Default)]
struct Account {
    payments: u64,
    sum: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:7400");
    let client = Client::connect(address).await?;
    create(&client).await?;
    let mut pending = Vec::new();
    let producer = client.producer(QUEUE).build()?;
    for amount in 1..=PAYMENTS {
        pending.push(producer.send(&Message::new(amount.to_string())).await?);
    }
    for receipt in pending {
        receipt.await.into_result()?;
    }
    println!("{PAYMENTS} payments enqueued");

    // The first run dies with 50 payments in its hands that it has not written down.
    let mut account = Account::default();
    let read = run(&client, &mut account, 4 * CHAPTER + 50).await?;
    println!("first run: read {read}, account has {}", account.payments);
    // The second one is another process with another connection; it begins at the checkpoint.
    let other = Client::connect(address).await?;
    let read = run(&other, &mut account, PAYMENTS).await?;
    println!("second run: read {read}, account has {}", account.payments);
    println!("sum {}", account.sum);

    // The sums are to be made anew: as long as something keeps the messages, all of them can be read again.
    let ledger = client.admin().subscription(QUEUE, "ledger");
    ledger.seek(Start::Earliest).await?;
    let mut again = Account::default();
    let read = run(&other, &mut again, PAYMENTS).await?;
    println!("replay: read {read}, sum {}", again.sum);
    other.close().await;
    client.close().await;
    Ok(())
}

/// A reader, and a subscription that keeps the messages for a replay.
async fn create(client: &Client) -> Result<(), Error> {
    let admin = client.admin();
    let config = SubscriptionConfig {
        contract: Contract::Reader,
        ..SubscriptionConfig::default()
    };
    let start = Some(Start::Earliest);
    let options = SubscriptionOptions { start, config };
    admin.subscription(QUEUE, "ledger").create(options).await?;
    admin.subscription(QUEUE, "archive").create(options).await?;
    Ok(())
}

/// Adds payments up from the checkpoint on, until so many are read or the account has all; says how many it read.
async fn run(client: &Client, account: &mut Account, at_most: u64) -> Result<u64, Error> {
    let mut payments = client.reader(QUEUE, "ledger").subscribe().await?;
    let mut page = *account;
    let mut read = 0;
    while read < at_most && account.payments < PAYMENTS {
        let Some(payment) = payments.next().await.transpose()? else {
            break;
        };
        read += 1;
        assert_eq!(
            payment.offset(),
            Offset(page.payments),
            "in order, none missing"
        );
        let amount = String::from_utf8_lossy(payment.body()).parse::<u64>();
        page.payments += 1;
        page.sum += amount.unwrap_or_default();
        if page.payments.is_multiple_of(CHAPTER) {
            // First the result, then the checkpoint: a crash between both reads the chapter again, and the account
            // says which payments it has already.
            *account = page;
            payments.checkpoint(&payment).await?;
        }
    }
    payments.close().await?;
    Ok(read)
}
