//! A connection that sends what a test wants, right or wrong.

use std::io::{Read, Write};
use std::net::TcpStream;

use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    Batch, BatchBuilder, Correlation, Dequeue, Enqueue, Frame, Hello, Lane, OutgoingMessage,
    ProducerId, Request, Response, Sequence, SessionId,
};

use crate::broker::{Broker, PATIENCE};

pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// What came, with its correlation; `None` at the end of the stream.
pub(crate) type Came = Option<(u64, Response<'static>)>;

pub(crate) const HELLO: Hello<'_> = Hello {
    version_min: 1,
    version_max: 1,
    features: 0,
    session: SessionId::NONE,
    resume: false,
    client_name: "test",
    tenant: "",
    token: &[],
};

pub(crate) fn encoded(number: u64, request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(Correlation(number), &mut bytes);
    bytes
}

pub(crate) fn enqueue(number: u64, queue: &str, body: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    let message = OutgoingMessage {
        body,
        ..OutgoingMessage::default()
    };
    batch.push(&message).unwrap();
    let batch = batch.finish(ProducerId::NONE, Sequence(0));
    assert!(Batch::read(&batch).is_ok());
    let enqueue = Enqueue {
        queue,
        lane: Lane(0),
        batch: &batch,
    };
    encoded(number, &Request::Enqueue(enqueue))
}

pub(crate) fn dequeue(number: u64, queue: &str, wait_ms: u32) -> Vec<u8> {
    let dequeue = Dequeue {
        queue,
        lane: Lane(0),
        subscription: "",
        count: 1,
        lease_ms: 30_000,
        wait_ms,
    };
    encoded(number, &Request::Dequeue(dequeue))
}

impl Wire {
    pub(crate) fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.data()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub(crate) fn greeted(broker: &Broker) -> Self {
        let mut wire = Self::connect(broker);
        wire.send(&encoded(1, &Request::Hello(HELLO)));
        let (number, response) = wire.next().expect("HELLO is answered");
        assert!(
            number == 1 && matches!(response, Response::Hello(_)),
            "{response:?}"
        );
        wire
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Came {
        loop {
            if let Some((frame, used)) = Frame::read(&self.received, FRAME_BYTES_MAX).unwrap() {
                // Tests are short, so what came may stay for ever.
                let bytes: &'static [u8] = frame.bytes.to_vec().leak();
                self.received.drain(..used);
                let (frame, _) = Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap();
                return Some((frame.correlation.0, Response::decode(&frame).unwrap()));
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk).unwrap() {
                0 => return None,
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Sends a request and takes its answer.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Response<'static> {
        self.send(bytes);
        self.next().expect("a request is answered").1
    }
}
