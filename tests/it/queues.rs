use anyhow::bail;
use corelane_tests::raw::RawConnection;
use corelane_wire::{
    ErrorCode, Lane, Offset, PartitionId, Peek, QueueInfo, QueueList, Request, Response,
};

use crate::{Fixture, bodies};

pub(crate) fn show(connection: &mut RawConnection, queue: &str) -> QueueInfo {
    let answer = connection.call(&Request::QueueShow { queue }, |response| {
        let Response::Queue(info) = response else {
            bail!("{response:?}");
        };
        Ok(info.clone())
    });
    answer.unwrap()
}

fn create(connection: &mut RawConnection, queue: &str) -> bool {
    let request = Request::QueueCreate { queue, lanes: 1 };
    let answer = connection.call(&request, |response| {
        let Response::QueueCreated { created } = response else {
            bail!("{response:?}");
        };
        Ok(*created)
    });
    answer.unwrap()
}

pub(crate) fn list(connection: &mut RawConnection) -> Vec<String> {
    let partitions = connection.call(&Request::Metadata, |response| {
        let Response::Metadata(metadata) = response else {
            bail!("{response:?}");
        };
        Ok(metadata.partitions.len())
    });
    let mut names = Vec::new();
    for partition in 0..u32::try_from(partitions.unwrap()).unwrap() {
        let request = Request::QueueList(QueueList {
            partition: PartitionId(partition),
            after: "",
            limit: 100,
        });
        let page = connection.call(&request, |response| {
            let Response::QueueList { queues, more } = response else {
                bail!("{response:?}");
            };
            assert!(!more);
            Ok(queues.iter().map(|info| info.name.clone()).collect())
        });
        names.extend::<Vec<String>>(page.unwrap());
    }
    names.sort();
    names
}

#[test]
fn queues_are_created_listed_shown_and_deleted_and_that_survives_a_crash() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let names: Vec<String> = (0..20).map(|number| format!("queue-{number:02}")).collect();
    for name in &names {
        assert!(create(&mut connection, name));
        assert!(!create(&mut connection, name));
    }
    connection.enqueue("queue-03", &["a", "b", "c"]).unwrap();
    connection
        .call(&Request::QueueDelete { queue: "queue-04" }, |_| Ok(()))
        .unwrap();
    let fixture = fixture.crash();
    let mut connection = fixture.connect();
    let mut expected = names.clone();
    expected.remove(4);
    assert_eq!(list(&mut connection), expected);
    let info = show(&mut connection, "queue-03");
    assert_eq!((info.start, info.end), (Offset(0), Offset(3)));
    let gone = connection
        .refusal(&Request::QueueShow { queue: "queue-04" })
        .unwrap();
    assert_eq!(gone.code, ErrorCode::QueueNotFound);
}

#[test]
fn a_deleted_queue_begins_anew() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["old"]).unwrap();
    let delete = Request::QueueDelete { queue: "q" };
    connection.call(&delete, |_| Ok(())).unwrap();
    connection.enqueue("q", &["new"]).unwrap();
    let taken = connection.dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["new"]);
}

#[test]
fn peek_shows_and_takes_nothing() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    connection.enqueue("q", &["a", "b", "c"]).unwrap();
    let request = Request::Peek(Peek {
        queue: "q",
        lane: Lane::default(),
        from: Offset(1),
        count: 10,
    });
    let seen = connection.call(&request, |response| {
        let Response::Peeked(deliveries) = response else {
            bail!("{response:?}");
        };
        let mut seen = Vec::new();
        for delivered in deliveries {
            seen.push(String::from_utf8(delivered?.message.body.to_vec())?);
        }
        Ok(seen)
    });
    assert_eq!(seen.unwrap(), ["b", "c"]);
    let taken = connection.dequeue("q", 10, 30_000, 0).unwrap();
    assert_eq!(bodies(&taken), ["a", "b", "c"]);
}
