//! Queues that keep their messages in memory only.

use std::path::Path;

use corelane_client::{Acked, Class, Client, ErrorCode, Message, Offset, QueueConfig, Storage};

use corelane_tests::control::{counter, get};

use crate::Fixture;
use crate::client::{client_of, run};

const IN_MEMORY: QueueConfig = QueueConfig {
    storage: Storage::Memory,
    ..QueueConfig::PLAIN
};

/// What no file may hold.
const MARK: &[u8] = b"only in memory, and nowhere else";

/// Whether a file below this folder holds the mark.
fn holds_mark(folder: &Path) -> bool {
    let mut paths = std::fs::read_dir(folder).unwrap();
    paths.any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds_mark(&path);
        }
        // What is being made or renamed is looked at under its next name, if at all.
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(MARK.len()).any(|found| found == MARK)
    })
}

/// Message `number` of a run.
fn body(number: u32, bytes: usize) -> Vec<u8> {
    let mut body = [MARK, &number.to_le_bytes()].concat();
    body.resize(bytes.max(body.len()), 7);
    body
}

async fn fill(client: &Client, queue: &str, bodies: impl Iterator<Item = Vec<u8>>) -> u64 {
    let producer = client.producer(queue).class(Class::Memory).build().unwrap();
    for body in bodies {
        drop(producer.send(&Message::new(body)).await.unwrap());
    }
    producer.close().await.confirmed
}

#[test]
fn a_memory_only_queue_serves_like_any_other_and_outlives_a_start_without_its_messages() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let admin = client.admin();
        assert!(admin.queue_configure("m", IN_MEMORY).await.unwrap());
        assert!(!admin.queue_configure("m", IN_MEMORY).await.unwrap());
        let bodies = (0..1_000).map(|number| body(number, 0));
        assert_eq!(fill(&client, "m", bodies).await, 1_000);
        let mut consumer = client.consumer("m").credit(10).subscribe().await.unwrap();
        for number in 0..600 {
            let one = consumer.next().await.unwrap().unwrap();
            assert_eq!(one.body(), body(number, 0));
            assert_eq!(one.ack().await.unwrap(), Acked::Done);
        }
        consumer.close().await.unwrap();
        let info = admin.queue_show("m").await.unwrap();
        assert_eq!(info.subscriptions[0].ready, 400);
        let listed = admin.queue_list().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|it| (&*it.name, it.end.0)).collect();
        assert_eq!(listed, [("m", 1_000)]);
        let shown = admin.peek("m", Offset(700), 1).await.unwrap();
        assert_eq!(shown[0].as_ref().unwrap().body(), body(700, 0));
        assert!(!holds_mark(&fixture.options.data));
        let durable = client.producer("d").class(Class::Memory).build().unwrap();
        assert!(durable.enqueue(&Message::new(MARK)).await.is_confirmed());
        assert!(
            client
                .consumer("d")
                .subscribe()
                .await
                .unwrap()
                .next()
                .await
                .is_some()
        );
        assert!(holds_mark(&fixture.options.data), "it would have been seen");

        let durable = client.producer("m").build().unwrap();
        let refused = durable.enqueue(&Message::new("x")).await.into_result();
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("class_not_available"), "{refused}");
    });

    let fixture = fixture.crash();
    run(async {
        let client = client_of(&fixture).await;
        let config = client.admin().queue_config("m").await.unwrap();
        assert_eq!(config, IN_MEMORY);
        let one = [b"after".to_vec()];
        assert_eq!(fill(&client, "m", one.into_iter()).await, 1);
        let mut consumer = client.consumer("m").subscribe().await.unwrap();
        let first = consumer.next().await.unwrap().unwrap();
        assert_eq!((first.body(), first.offset().0), (&b"after"[..], 0));
    });
}

#[test]
fn what_a_memory_only_queue_holds_beyond_the_mark_goes_to_files_without_a_name() {
    const COUNT: u32 = 200;
    const BYTES: usize = 256 << 10;
    let mut fixture = Fixture::start();
    let config = fixture.options.data.with_extension("toml");
    std::fs::write(&config, "volatile_bytes = \"8MiB\"\n").unwrap();
    let config = config.to_str().unwrap().to_owned();
    fixture
        .options
        .arguments
        .extend(["--config".to_owned(), config]);
    let fixture = fixture.crash();
    run(async {
        let client = client_of(&fixture).await;
        client
            .admin()
            .queue_configure("m", IN_MEMORY)
            .await
            .unwrap();
        for round in 0..2 {
            let body = |number| body(1_000 * round + number, BYTES);
            // Six times the mark.
            let sent = fill(&client, "m", (0..COUNT).map(body)).await;
            assert_eq!(sent, u64::from(COUNT));
            let mut consumer = client.consumer("m").credit(20).subscribe().await.unwrap();
            for number in 0..COUNT {
                let one = consumer.next().await.unwrap().unwrap();
                assert_eq!(one.body(), body(number));
                assert_eq!(one.ack().await.unwrap(), Acked::Done);
            }
            consumer.close().await.unwrap();
        }
        // What the first round left has made room while the second one came.
        let (_, metrics) = get(fixture.broker.control, "/metrics").unwrap();
        let kept = counter(&metrics, "corelane_volatile_bytes").unwrap();
        assert!(kept < 80 << 20, "{kept} bytes are kept of 100 MiB");
        assert!(!holds_mark(&fixture.options.data));
    });
}

#[test]
fn a_deleted_memory_only_queue_leaves_nothing_to_a_durable_one_of_its_name() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let admin = client.admin();
        admin.queue_configure("m", IN_MEMORY).await.unwrap();
        let plain = admin.queue_configure("m", QueueConfig::PLAIN).await;
        assert_eq!(plain.unwrap_err().code(), Some(ErrorCode::QueueExists));
        fill(&client, "m", [b"gone".to_vec()].into_iter()).await;
        let waits = client.consumer("m").subscription("s").subscribe().await;
        let mut waits = waits.unwrap();
        let first = waits.next().await.unwrap().unwrap();
        assert_eq!(first.body(), b"gone");
        admin.queue_delete("m").await.unwrap();
        assert!(!matches!(waits.next().await, Some(Ok(_))), "it is gone");

        let producer = client.producer("m").build().unwrap();
        let receipt = producer.enqueue(&Message::new("new")).await.into_result();
        let receipt = receipt.unwrap();
        assert_eq!((receipt.offset.0, receipt.class), (0, Class::Durable));
    });
    let fixture = fixture.crash();
    run(async {
        let client = client_of(&fixture).await;
        let shown = client.admin().peek("m", Offset(0), 10).await.unwrap();
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].as_ref().unwrap().body(), b"new");
    });
}
