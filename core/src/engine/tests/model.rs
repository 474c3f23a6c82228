//! The reference: what each record means, message by message, with nothing shared with `state`.

use std::collections::BTreeMap;

use corelane_wire::{LeaseId, Lsn, SessionId, SettleEntry, Timestamp};

use crate::record::Record;
use crate::{QueueId, SubscriptionId};

type Key = (QueueId, SubscriptionId);

#[derive(Default)]
pub(super) struct Model {
    epoch: u64,
    jumps: u64,
    pub(super) queues: BTreeMap<QueueId, u64>,
    pub(super) subscriptions: BTreeMap<Key, Vec<Message>>,
}

/// One message in one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) state: MessageState,
    pub(super) attempts: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MessageState {
    Ready,
    Leased {
        lease: LeaseId,
        session: SessionId,
        deadline: u64,
    },
    Delayed {
        due: u64,
    },
    Done,
}

const READY: Message = Message {
    state: MessageState::Ready,
    attempts: 0,
};

impl Model {
    pub(super) fn of(log: &[(Lsn, Timestamp, Record)]) -> Self {
        let mut model = Self::default();
        for (lsn, time, record) in log {
            model.apply(*lsn, *time, record);
        }
        model
    }

    pub(super) fn apply(&mut self, lsn: Lsn, time: Timestamp, record: &Record) {
        let lease_now = time.0 - self.jumps;
        match record {
            Record::Epoch { epoch, jump_ns } => {
                self.epoch = epoch.0;
                self.jumps += jump_ns;
            }
            Record::Create { queue, .. } => {
                self.queues.insert(*queue, 0);
            }
            Record::Delete { queue } => {
                self.queues.remove(queue);
                self.subscriptions.retain(|key, _| key.0 != *queue);
            }
            Record::Subscribe {
                queue,
                subscription,
                from,
                ..
            } => {
                let mut messages = vec![READY; usize::try_from(self.queues[queue]).unwrap()];
                for message in &mut messages[..usize::try_from(from.0).unwrap()] {
                    message.state = MessageState::Done;
                }
                self.subscriptions.insert((*queue, *subscription), messages);
            }
            Record::Enqueue { queue, count, .. } => {
                *self.queues.get_mut(queue).unwrap() += u64::from(*count);
                for (key, messages) in &mut self.subscriptions {
                    if key.0 == *queue {
                        messages.resize(messages.len() + *count as usize, READY);
                    }
                }
            }
            Record::Lease {
                session, lease_ms, ..
            } => {
                let lease = super::node::lease_id(self.epoch, lsn.0);
                let deadline = lease_now + u64::from(*lease_ms) * 1_000_000;
                for message in self.leased(record) {
                    assert_eq!(message.state, MessageState::Ready, "C4: leased twice");
                    message.attempts += 1;
                    message.state = MessageState::Leased {
                        lease,
                        session: *session,
                        deadline,
                    };
                }
            }
            Record::Ack { .. } | Record::Nack { .. } | Record::Extend { .. } => {
                self.settle(time, lease_now, record);
            }
            // Where a message lies is nothing that a client sees.
            Record::Relocate { .. } => {}
            Record::Tick => self.tick(time.0, lease_now),
            Record::Release { session } => self.release(*session),
        }
    }

    pub(super) fn count(&self, is: impl Fn(MessageState) -> bool) -> u64 {
        let messages = self.subscriptions.values().flatten();
        messages.filter(|message| is(message.state)).count() as u64
    }

    fn leased(&mut self, record: &Record) -> Vec<&mut Message> {
        let Record::Lease {
            queue,
            subscription,
            ranges,
            ..
        } = record
        else {
            panic!("{record:?}");
        };
        let messages = self.subscriptions.get_mut(&(*queue, *subscription));
        let numbered = (0..).zip(messages.unwrap());
        numbered
            .filter(|(offset, _)| {
                ranges
                    .iter()
                    .any(|range| (range.first.0..range.end().0).contains(offset))
            })
            .map(|(_, message)| message)
            .collect()
    }

    fn settle(&mut self, time: Timestamp, lease_now: u64, record: &Record) {
        let (key, entries) = settlement(record);
        let messages = self.subscriptions.get_mut(&key).unwrap();
        for entry in entries {
            for offset in entry.range.first.0..entry.range.end().0 {
                let message = &mut messages[usize::try_from(offset).unwrap()];
                let MessageState::Leased { lease, session, .. } = message.state else {
                    panic!("{offset} is not leased: {message:?}");
                };
                assert_eq!(lease, entry.lease, "{offset} is held under another lease");
                message.state = MessageState::Done;
                if let Record::Extend { lease_ms, .. } = record {
                    message.state = MessageState::Leased {
                        lease,
                        session,
                        deadline: lease_now + u64::from(*lease_ms) * 1_000_000,
                    };
                }
                if let Record::Nack {
                    delay_ms,
                    count_attempt,
                    ..
                } = record
                {
                    message.attempts -= u32::from(!count_attempt);
                    message.state = match delay_ms {
                        0 => MessageState::Ready,
                        delay => MessageState::Delayed {
                            due: time.0 + delay * 1_000_000,
                        },
                    };
                }
            }
        }
    }

    fn tick(&mut self, log_now: u64, lease_now: u64) {
        for message in self.subscriptions.values_mut().flatten() {
            match message.state {
                MessageState::Leased { deadline, .. } if deadline <= lease_now => {
                    message.state = MessageState::Ready;
                }
                MessageState::Delayed { due } if due <= log_now => {
                    message.state = MessageState::Ready;
                }
                MessageState::Leased { .. }
                | MessageState::Delayed { .. }
                | MessageState::Ready
                | MessageState::Done => {}
            }
        }
    }

    fn release(&mut self, of: SessionId) {
        for message in self.subscriptions.values_mut().flatten() {
            if let MessageState::Leased { session, .. } = message.state
                && session == of
            {
                message.state = MessageState::Ready;
                message.attempts -= 1;
            }
        }
    }
}

/// What an Ack, Nack or Extend is about.
fn settlement(record: &Record) -> (Key, &[SettleEntry]) {
    let (Record::Ack {
        queue,
        subscription,
        entries,
    }
    | Record::Nack {
        queue,
        subscription,
        entries,
        ..
    }
    | Record::Extend {
        queue,
        subscription,
        entries,
        ..
    }) = record
    else {
        panic!("{record:?}");
    };
    ((*queue, *subscription), entries)
}
