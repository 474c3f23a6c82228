//! A producer thread: idempotent, pipelined, resending what has no answer after each death.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use corelane_wire::{
    BatchBuilder, Correlation, Enqueue, ErrorCode, Lane, OutgoingMessage, ProducerId, Receipt,
    Request, Response, Sequence, SessionId,
};

use super::trouble::Trouble;
use super::{Ledger, MessageId, Phase, Rendezvous};
use crate::raw::RawConnection;

/// Batches without an answer at most.
const WINDOW_BATCHES: usize = 64;
/// Messages of a batch: 1 to this, in turn.
const BATCH_MESSAGES_MAX: u32 = 20;

struct Batch {
    bytes: Vec<u8>,
    first: MessageId,
    count: u32,
}

struct Producer<'a> {
    number: u32,
    queue: &'a str,
    ledger: &'a Ledger,
    rendezvous: &'a Rendezvous,
    id: ProducerId,
    next_message: u32,
    next_sequence: u64,
    window: VecDeque<Batch>,
}

/// Produces to `queue` until the end of the run.
///
/// # Errors
/// If the broker refuses what it must take, or answers what was not asked.
pub fn produce(
    number: u32,
    queue: &str,
    ledger: &Ledger,
    rendezvous: &Rendezvous,
) -> anyhow::Result<()> {
    let mut producer = Producer {
        number,
        queue,
        ledger,
        rendezvous,
        id: ProducerId((u128::from(number) + 1) << 64 | u128::from(std::process::id())),
        next_message: 0,
        next_sequence: 0,
        window: VecDeque::new(),
    };
    loop {
        let unanswered = producer.window.len();
        let (Phase::Load(address) | Phase::Drain(address)) = rendezvous.wait_up(unanswered) else {
            return Ok(());
        };
        match producer.run(address) {
            Ok(()) => return Ok(()),
            Err(Trouble::Broken) => rendezvous.wait_other(address),
            Err(Trouble::Wrong(error)) => return Err(error),
        }
    }
}

impl Producer<'_> {
    /// Resends what has no answer, then keeps the window full, until the drain is through.
    fn run(&mut self, address: SocketAddr) -> Result<(), Trouble> {
        let mut connection =
            RawConnection::connect(address, SessionId::default()).map_err(Trouble::of)?;
        let mut correlations = VecDeque::new();
        for batch in &self.window {
            correlations.push_back(self.send(&mut connection, batch));
        }
        loop {
            match self.rendezvous.phase() {
                Phase::Load(_) => {
                    while self.window.len() < WINDOW_BATCHES && self.ledger.has_room() {
                        let batch = self.next_batch();
                        correlations.push_back(self.send(&mut connection, &batch));
                        self.window.push_back(batch);
                    }
                    if self.window.is_empty() {
                        self.ledger.wait_for_room();
                        continue;
                    }
                }
                Phase::Drain(_) | Phase::End if self.window.is_empty() => return Ok(()),
                // A broker that is being killed still owes answers, or the end of the connection.
                Phase::Drain(_) | Phase::End | Phase::Down => {}
            }
            connection.flush().map_err(Trouble::of)?;
            self.take_answer(&mut connection, &mut correlations)?;
        }
    }

    fn send(&self, connection: &mut RawConnection, batch: &Batch) -> Correlation {
        connection.queue(&Request::Enqueue(Enqueue {
            queue: self.queue,
            lane: Lane::default(),
            batch: &batch.bytes,
        }))
    }

    fn next_batch(&mut self) -> Batch {
        let count = 1 + self.next_message % BATCH_MESSAGES_MAX;
        let first = MessageId {
            producer: self.number,
            number: self.next_message,
        };
        let mut builder = BatchBuilder::new();
        for number in first.number..first.number + count {
            let id = MessageId { number, ..first };
            self.ledger.enqueued(id);
            let message = OutgoingMessage {
                key: None,
                headers: &[],
                due_ms: None,
                ttl_ms: None,
                body: &self.ledger.body(id),
            };
            builder.push(&message).expect("the body is small");
        }
        let bytes = builder.finish(self.id, Sequence(self.next_sequence));
        self.next_sequence += 1;
        self.next_message += count;
        Batch {
            bytes,
            first,
            count,
        }
    }

    /// Takes one answer; answers of one producer come in the order of its batches.
    fn take_answer(
        &mut self,
        connection: &mut RawConnection,
        correlations: &mut VecDeque<Correlation>,
    ) -> Result<(), Trouble> {
        let (correlation, answer) = connection
            .receive(|frame, response| Ok((frame.correlation, own(response))))
            .map_err(Trouble::of)?;
        match answer {
            Ok(receipt) => {
                let position = correlations.iter().position(|sent| *sent == correlation);
                if position != Some(0) {
                    let text = format!("answer {correlation} out of order for one queue");
                    return Err(Trouble::Wrong(anyhow::anyhow!(text)));
                }
                correlations.pop_front();
                self.confirm(receipt).map_err(Trouble::Wrong)
            }
            Err((code, text)) => Err(Trouble::refused(code, &text)),
        }
    }

    fn confirm(&mut self, receipt: Receipt) -> anyhow::Result<()> {
        let batch = self.window.pop_front().context("an answer nobody asked")?;
        if receipt.range.count != batch.count {
            bail!("{} messages sent, receipt is {receipt:?}", batch.count);
        }
        for number in batch.first.number..batch.first.number + batch.count {
            self.ledger.confirmed(MessageId {
                number,
                ..batch.first
            });
        }
        Ok(())
    }
}

fn own(response: Response<'_>) -> Result<Receipt, (ErrorCode, String)> {
    if let Response::Error { code, text } | Response::Fault { code, text } = response {
        return Err((code, text));
    }
    let Response::Enqueued(receipt) = &response else {
        return Err((ErrorCode::Internal, format!("unexpected {response:?}")));
    };
    Ok(*receipt)
}
