//! A broker that does what a test tells it.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{
    Correlation, Decoder, Frame, HelloAnswer, Metadata, NodeId, PartitionId, PartitionPlace,
    Request, Response, SessionId, kind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::protocol::scripted::{EPOCH, answer, refusal};

/// Greetings, pings and questions for places it answers by itself; everything else the test must.
pub(super) struct Broker {
    pub(super) address: String,
    pub(super) port: u16,
    asked: mpsc::Receiver<Asked>,
    settings: Arc<Settings>,
    task: tokio::task::JoinHandle<()>,
}

/// What a test may change while the broker runs.
pub(super) struct Settings {
    /// The port that all partitions are said to have.
    pub(super) places: AtomicU16,
    /// Session and whether it was to be resumed, of every greeting.
    pub(super) greetings: Mutex<Vec<(SessionId, bool)>>,
    /// Refuses every greeting with it.
    pub(super) refusal: Mutex<Option<corelane_wire::ErrorCode>>,
    connections: Mutex<JoinSet<()>>,
}

/// A request that waits for the test's answer.
pub(super) struct Asked {
    call: Correlation,
    bytes: Vec<u8>,
    out: mpsc::Sender<Vec<u8>>,
}

impl Asked {
    pub(super) fn request(&self) -> Request<'_> {
        let (frame, _) = Frame::read(&self.bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        Request::decode(&frame).unwrap()
    }

    pub(super) fn kind(&self) -> u8 {
        self.request().kind()
    }

    pub(super) const fn call(&self) -> Correlation {
        self.call
    }

    pub(super) fn sent(&self) -> crate::protocol::scripted::SentBatch {
        crate::protocol::scripted::Sent {
            call: self.call,
            bytes: self.bytes.clone(),
        }
        .batch()
    }

    pub(super) async fn answer(&self, response: &Response<'_>) {
        self.send(answer(self.call, response)).await;
    }

    pub(super) async fn refuse(&self, code: corelane_wire::ErrorCode) {
        self.answer(&refusal(code)).await;
    }

    /// Sends bytes on the connection of this request.
    pub(super) async fn send(&self, bytes: Vec<u8>) {
        self.out.send(bytes).await.unwrap();
    }
}

impl Broker {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = mpsc::channel(1_024);
        let settings = Arc::new(Settings {
            places: AtomicU16::new(port),
            greetings: Mutex::new(Vec::new()),
            refusal: Mutex::new(None),
            connections: Mutex::new(JoinSet::new()),
        });
        let of_task = Arc::clone(&settings);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (settings, sender) = (Arc::clone(&of_task), sender.clone());
                let mut connections = of_task.connections.lock().unwrap();
                connections.spawn(serve(stream, settings, sender));
            }
        });
        Self {
            address: format!("127.0.0.1:{port}"),
            port,
            asked,
            settings,
            task,
        }
    }

    /// The next request that the test has to answer.
    pub(super) async fn next(&mut self) -> Asked {
        super::soon(self.asked.recv())
            .await
            .expect("the broker lives as long as the test")
    }

    /// Whether a request waits already.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Closes every connection, with everything that was asked on it and not taken yet.
    pub(super) fn break_connections(&mut self) {
        self.settings.connections.lock().unwrap().abort_all();
        while self.asked.try_recv().is_ok() {}
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
        self.settings.connections.lock().unwrap().abort_all();
    }
}

async fn serve(mut stream: TcpStream, settings: Arc<Settings>, asked: mpsc::Sender<Asked>) {
    let (out, mut to_send) = mpsc::channel::<Vec<u8>>(1_024);
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut chunk = vec![0; 64 << 10];
    loop {
        tokio::select! {
            read = stream.read(&mut chunk) => {
                let Ok(bytes @ 1..) = read else { return };
                let mut rest = &chunk[..bytes];
                while let Some(frame) = decoder.next(&mut rest).unwrap() {
                    let answer = by_itself(&frame, &settings);
                    let passed = match answer {
                        Some(answer) => out.send(answer).await.is_ok(),
                        None => asked.send(Asked {
                            call: frame.correlation,
                            bytes: frame.bytes.to_vec(),
                            out: out.clone(),
                        }).await.is_ok(),
                    };
                    if !passed {
                        return;
                    }
                }
            }
            bytes = to_send.recv() => {
                let Some(bytes) = bytes else { return };
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn by_itself(frame: &Frame<'_>, settings: &Settings) -> Option<Vec<u8>> {
    let response = match frame.kind {
        kind::HELLO => hello(frame, settings),
        kind::PING => Response::Pong,
        kind::METADATA => places(settings.places.load(Ordering::Relaxed)),
        _ => return None,
    };
    let mut out = Vec::new();
    response.encode(frame.correlation, EPOCH, &mut out);
    Some(out)
}

fn hello(frame: &Frame<'_>, settings: &Settings) -> Response<'static> {
    let Ok(Request::Hello(hello)) = Request::decode(frame) else {
        panic!("not a greeting");
    };
    let greeting = (hello.session, hello.resume);
    settings.greetings.lock().unwrap().push(greeting);
    if let Some(code) = *settings.refusal.lock().unwrap() {
        return refusal(code);
    }
    Response::Hello(HelloAnswer {
        version: 1,
        features: 0,
        session: SessionId(99),
        resumed: hello.resume,
        node: NodeId(1),
        server_name: "scripted".to_owned(),
        frame_bytes_max: 1 << 20,
        in_flight_max: 1_024,
    })
}

fn places(port: u16) -> Response<'static> {
    let place = |partition| PartitionPlace {
        partition: PartitionId(partition),
        node: NodeId(1),
        port,
    };
    Response::Metadata(Metadata {
        node: NodeId(1),
        shared_port: port,
        partitions: (0..4).map(place).collect(),
    })
}
