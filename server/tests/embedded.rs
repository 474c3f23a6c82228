//! A broker inside a program, from outside of the library.

use std::time::Duration;

use corelane::Embedded;
use corelane_client::{Client, ErrorCode, Message};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

#[path = "../examples/embedded.rs"]
mod example;

/// Runs something in a thread that, with all threads that it starts, can open no socket of any kind.
fn without_sockets<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let refused = [libc::SYS_socket, libc::SYS_socketpair];
    let filter = SeccompFilter::new(
        refused.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH
            .try_into()
            .expect("filters exist here"),
    );
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.expect("the filter is sound");
    std::thread::scope(|scope| {
        let limited = scope.spawn(|| {
            apply_filter(&program).expect("a process may limit itself");
            run()
        });
        limited.join().expect("it ran")
    })
}

/// The example twice over one directory.
#[test]
fn example_runs_where_no_socket_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    without_sockets(|| {
        std::net::TcpListener::bind("127.0.0.1:0").expect_err("the filter refuses this");
        std::os::unix::net::UnixStream::pair().expect_err("and this");
        for ever in [3, 6] {
            let told = example::run(&folder.path().join("data")).unwrap();
            assert_eq!(told.orders, ["order 1", "order 2", "order 3"]);
            assert_eq!(told.ever, ever, "messages survive the broker's end");
        }
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(future)
}

/// More than any buffer on the way holds, both ways, over several shards.
#[test]
fn megabytes_pass_between_clients_and_shards() {
    const QUEUES: usize = 4;
    const MESSAGES: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let broker = Embedded::builder(folder.path().join("data"))
            .cores(2)
            .start()
            .unwrap();
        let client = broker.client().await.unwrap();
        let body = |queue: usize, number: usize| {
            let length = 200_000 + 1_000 * queue + number;
            vec![u8::try_from(number).unwrap(); length]
        };
        for queue in 0..QUEUES {
            let name = format!("queue-{queue}");
            let producer = client.producer(&name).build().unwrap();
            let mut pending = Vec::new();
            for number in 0..MESSAGES {
                let message = Message::new(body(queue, number));
                pending.push(producer.send(&message).await.unwrap());
            }
            for receipt in pending {
                receipt.await.into_result().unwrap();
            }
            let mut consumer = client.consumer(&name).subscribe().await.unwrap();
            for number in 0..MESSAGES {
                let delivery = consumer.next().await.unwrap().unwrap();
                assert!(delivery.body() == body(queue, number), "{queue} {number}");
                delivery.ack().await.unwrap();
            }
            consumer.close().await.unwrap();
        }
        client.close().await;
        broker.stop().await.unwrap();
    });
}

#[test]
fn other_programs_come_in_where_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let closed = Embedded::builder(folder.path().join("closed"))
            .start()
            .unwrap();
        assert_eq!(closed.address(), None);
        let open = Embedded::builder(folder.path().join("open"))
            .listen("127.0.0.1:0".parse().unwrap())
            .start()
            .unwrap();
        let address = open.address().unwrap().to_string();
        let outside = Client::connect(&address).await.unwrap();
        let inside = open.client().await.unwrap();
        outside.admin().queue_create("shared").await.unwrap();
        assert_eq!(
            inside.admin().queue_show("shared").await.unwrap().name,
            "shared"
        );
        outside.close().await;
        inside.close().await;
    });
}

/// A client that outlives its broker is told so, and a directory is free again at once.
#[test]
fn stopped_broker_is_told_to_its_clients_and_can_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    block_on(async {
        let first = Embedded::builder(&directory).start().unwrap();
        let patient = first.client().await.unwrap();
        patient.admin().queue_create("kept").await.unwrap();
        let builder = Client::builder().call_timeout(Duration::from_secs(1));
        let builder = builder.pauses(Duration::from_millis(1), Duration::from_millis(2));
        let client = first.client_with(builder).await.unwrap();
        first.stop().await.unwrap();
        let error = client.ping().await.unwrap_err();
        assert!(error.to_string().contains("has stopped"), "{error}");

        let second = Embedded::builder(&directory).start().unwrap();
        let client = second.client().await.unwrap();
        assert_eq!(
            client.admin().queue_show("kept").await.unwrap().name,
            "kept"
        );
        // Without a word: dropping both ends them.
    });
    drop(Embedded::builder(&directory).start().unwrap());
}

#[test]
fn settings_that_mean_nothing_here_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = |key: &str, value: &str| {
        let builder = Embedded::builder(folder.path()).set(key, value);
        builder.start().unwrap_err().to_string()
    };
    let text = start("control", "127.0.0.1:0");
    assert!(
        text.contains("set by the program") && text.contains("leave it out"),
        "{text}"
    );
    let text = start("lisen", "127.0.0.1:0");
    assert!(text.contains("no key lisen"), "{text}");
    let text = start("cores", "many");
    assert!(text.contains("cores"), "{text}");
    assert!(
        std::fs::read_dir(folder.path()).unwrap().next().is_none(),
        "nothing was begun"
    );
}

#[test]
fn deleting_a_queue_ends_the_streams_of_its_consumers() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let broker = Embedded::builder(folder.path().join("data"))
            .start()
            .unwrap();
        let builder = Client::builder();
        let builder = builder.signs_of_life(Duration::from_millis(50), Duration::from_secs(5));
        let client = broker.client_with(builder).await.unwrap();
        let mut consumer = client.consumer("orders").subscribe().await.unwrap();
        client.admin().queue_delete("orders").await.unwrap();
        let error = consumer.next().await.unwrap().unwrap_err();
        let code = error.code();
        assert_eq!(code, Some(ErrorCode::SubscriptionNotFound), "{error}");
        assert!(error.to_string().contains("orders was deleted"), "{error}");
        assert!(consumer.next().await.is_none());
        let error = client.admin().queue_show("orders").await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::QueueNotFound), "not again");
    });
}
