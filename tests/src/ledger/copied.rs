//! The check of a copy of the broker's data that was made while the run went on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use corelane_wire::SessionId;

use super::consumer::{ack, take};
use super::trouble::Trouble;
use super::{Ledger, MessageId, Moment};
use crate::raw::RawConnection;

/// The longest that a message which is owed may take: leases of the run end by themselves before.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a copy comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyVerdict {
    /// Messages that it must have: confirmed before the copy began, and no ack of theirs sent before it was over.
    pub owed: u64,
    /// Messages that it has.
    pub delivered: u64,
    /// Owed, and not there.
    pub lost: u64,
    /// There, and never enqueued, or with other bytes.
    pub phantom: u64,
    /// There, although their ack had been confirmed before the copy began.
    pub resurrected: u64,
}

impl CopyVerdict {
    /// Whether the copy is one of what the broker had promised.
    pub const fn is_good(&self) -> bool {
        self.lost == 0 && self.phantom == 0 && self.resurrected == 0
    }

    /// Adds another copy's figures.
    pub const fn add(&mut self, other: &Self) {
        self.owed += other.owed;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.phantom += other.phantom;
        self.resurrected += other.resurrected;
    }
}

/// What came out of a copy.
#[derive(Default)]
struct Came {
    messages: BTreeSet<MessageId>,
    phantom: u64,
}

/// Drains the queues of a broker that runs on a copy, made between two moments of the ledger, and judges what comes.
///
/// # Errors
/// If that broker refuses what it must take.
pub fn check_copy(
    ledger: &Ledger,
    (begun, over): (&Moment, &Moment),
    queues: &[&str],
    broker: SocketAddr,
) -> anyhow::Result<CopyVerdict> {
    let owed: BTreeSet<_> = begun.confirmed.difference(&over.ack_sent).collect();
    let mut came = Came::default();
    let since = Instant::now();
    loop {
        let is_empty = drain(ledger, queues, broker, &mut came)?;
        let is_all = owed.iter().all(|id| came.messages.contains(id));
        if is_empty && (is_all || since.elapsed() > PATIENCE) {
            break;
        }
    }
    let has = |id: &&&MessageId| came.messages.contains(**id);
    Ok(CopyVerdict {
        owed: owed.len() as u64,
        delivered: came.messages.len() as u64,
        lost: (owed.len() - owed.iter().filter(has).count()) as u64,
        phantom: came.phantom,
        resurrected: begun.acked.intersection(&came.messages).count() as u64,
    })
}

/// Takes and acknowledges until no queue gives anything for a moment; returns whether none gave anything at all.
fn drain(
    ledger: &Ledger,
    queues: &[&str],
    broker: SocketAddr,
    came: &mut Came,
) -> anyhow::Result<bool> {
    let mut is_empty = true;
    let mut connection = RawConnection::connect(broker, SessionId::default())?;
    for queue in queues {
        loop {
            let mut unknown = 0;
            let identify = |body: &[u8]| {
                let id = ledger.known(body);
                unknown += u64::from(id.is_none());
                id
            };
            let taken = take(&mut connection, queue, identify).map_err(Trouble::into_error)?;
            came.phantom += unknown;
            if taken.messages.is_empty() {
                break;
            }
            is_empty = false;
            ack(&mut connection, queue, &taken).map_err(Trouble::into_error)?;
            came.messages
                .extend(taken.messages.iter().map(|(_, id)| *id));
        }
    }
    Ok(is_empty)
}
