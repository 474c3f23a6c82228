use anyhow::bail;
use corelane_wire::{
    BatchBuilder, Enqueue, ErrorCode, Hello, Lane, Metadata, OutgoingMessage, ProducerId, Request,
    Response, Sequence, SessionId, partition_of,
};

use corelane_tests::raw::RawConnection;

use crate::{Fixture, bodies};

fn hello() -> Request<'static> {
    Request::Hello(Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        session: SessionId::default(),
        resume: false,
        client_name: "test",
        tenant: "",
        token: &[],
    })
}

#[test]
fn a_request_before_hello_is_refused_and_the_connection_closed() {
    let fixture = Fixture::start();
    let mut connection = RawConnection::connect_silently(fixture.broker.address).unwrap();
    let refused = connection.refusal(&Request::Ping);
    // The refusal is the last frame: it may come as a fault, which answers no correlation.
    let text = format!("{refused:?}");
    assert!(text.contains("HelloRequired"), "{text}");
    assert!(connection.receive(|_, _| Ok(())).is_err());
}

#[test]
fn a_second_hello_is_refused() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let refused = format!("{:?}", connection.refusal(&hello()));
    assert!(refused.contains("HelloRepeated"), "{refused}");
}

#[test]
fn an_unknown_tenant_and_an_unknown_version_are_refused() {
    let fixture = Fixture::start();
    for (version, tenant, expected) in [
        (1, "stranger", ErrorCode::TenantUnknown),
        (9, "", ErrorCode::UnsupportedVersion),
    ] {
        let mut connection = RawConnection::connect_silently(fixture.broker.address).unwrap();
        let request = Request::Hello(Hello {
            version_min: version,
            version_max: version,
            features: 0,
            session: SessionId::default(),
            resume: false,
            client_name: "test",
            tenant,
            token: &[],
        });
        let refused = format!("{:?}", connection.refusal(&request));
        assert!(refused.contains(&format!("{expected:?}")), "{refused}");
    }
}

fn metadata(connection: &mut RawConnection) -> Metadata {
    let answer = connection.call(&Request::Metadata, |response| {
        let Response::Metadata(metadata) = response else {
            bail!("{response:?}");
        };
        Ok(metadata.clone())
    });
    answer.unwrap()
}

#[test]
fn every_shard_serves_every_queue_and_its_own_port() {
    let fixture = Fixture::start();
    let metadata = metadata(&mut fixture.connect());
    let partitions = u32::try_from(metadata.partitions.len()).unwrap();
    let mut ports: Vec<u16> = metadata.partitions.iter().map(|place| place.port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), usize::from(fixture.options.cores));
    for queue in ["a", "b", "c", "d", "e"] {
        let owner = partition_of("default", queue, Lane::default(), partitions);
        for port in &ports {
            let address = (fixture.broker.address.ip(), *port).into();
            let mut connection = crate::connect(address);
            connection.enqueue(queue, &["x"]).unwrap();
        }
        let place = metadata
            .partitions
            .iter()
            .find(|place| place.partition == owner);
        let address = (fixture.broker.address.ip(), place.unwrap().port).into();
        let taken = crate::connect(address)
            .dequeue(queue, 10, 30_000, 0)
            .unwrap();
        assert_eq!(bodies(&taken), ["x", "x"]);
    }
}

#[test]
fn pipelined_enqueues_are_all_answered_and_keep_their_order() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let mut sent = Vec::new();
    for number in 0..500_u64 {
        let mut builder = BatchBuilder::new();
        let body = number.to_string();
        builder
            .push(&OutgoingMessage {
                key: None,
                headers: &[],
                due_ms: None,
                ttl_ms: None,
                body: body.as_bytes(),
            })
            .unwrap();
        let batch = builder.finish(ProducerId(5), Sequence(number));
        sent.push(connection.queue(&Request::Enqueue(Enqueue {
            queue: "q",
            lane: Lane::default(),
            batch: &batch,
        })));
    }
    connection.flush().unwrap();
    for (number, correlation) in sent.iter().enumerate() {
        connection
            .receive(|frame, response| {
                assert_eq!(frame.correlation, *correlation);
                assert!(frame.epoch.0 > 0);
                let Response::Enqueued(receipt) = response else {
                    bail!("{response:?}");
                };
                assert_eq!(receipt.range.first.0, number as u64);
                Ok(())
            })
            .unwrap();
    }
    let taken = connection.dequeue("q", 500, 30_000, 0).unwrap();
    let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&taken), expected);
}

#[test]
fn a_gap_and_an_unknown_producer_are_refused() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let refused = |error: anyhow::Error| {
        let refused: corelane_tests::raw::Refused = error.downcast().unwrap();
        refused.code
    };
    let unknown = connection.enqueue_as("q", &["x"], ProducerId(1), Sequence(3));
    assert_eq!(refused(unknown.unwrap_err()), ErrorCode::UnknownProducer);
    connection
        .enqueue_as("q", &["x"], ProducerId(2), Sequence(0))
        .unwrap();
    let gap = connection.enqueue_as("q", &["x"], ProducerId(2), Sequence(2));
    assert_eq!(refused(gap.unwrap_err()), ErrorCode::OutOfSequence);
}
