//! Subscriptions that give out messages with one key one at a time and in order. Nothing of it is replicated.
//!
//! The state knows no keys: they are in the batches. So the engine keeps a [`View`] of each such subscription: it takes
//! the keys of what is enqueued as it comes, and asks the shell for the records of what was there before, ahead of need.
//! Nothing is given out that is not read, nor anything behind it.

mod view;

use std::collections::{BTreeMap, VecDeque};
use std::iter::repeat_n;

use corelane_wire::{Batch, Contract, Offset, OffsetRange};

use super::output::FetchFor;
use super::{Engine, Output, Run, Status};
use crate::ids::{QueueId, SubscriptionId};
use crate::record::Change;
use crate::state::runs::RunsAt;
use crate::state::{Effects, EnqueueRun, Leases, State, Subscription, SubscriptionKey};
use view::{Key, View};

/// The views of a partition, and what is being read for them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    views: BTreeMap<SubscriptionKey, View>,
    asked: VecDeque<Asked>,
    /// The number of the next view.
    next: u64,
}

/// A record that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: SubscriptionKey,
    /// The number of the view that it is for.
    view: u64,
    /// The messages of the run.
    first: Offset,
    count: u32,
    /// The place of the first of them in the batch.
    index: u32,
}

impl Keys {
    /// The view of a subscription, if there is one.
    fn view(&self, key: SubscriptionKey) -> Option<&View> {
        self.views.get(&key)
    }

    /// Whether records are being read for a subscription.
    pub(super) fn is_reading(&self, key: SubscriptionKey) -> bool {
        self.view(key).is_some_and(|view| view.asked > 0)
    }

    /// What may be given out of a subscription below `end`, in order.
    pub(super) fn givable(
        &self,
        key: SubscriptionKey,
        end: Offset,
    ) -> impl Iterator<Item = Offset> {
        self.view(key)
            .into_iter()
            .flat_map(move |view| view.givable(end))
    }

    /// How many messages that are.
    pub(super) fn givable_count(&self, key: SubscriptionKey, end: Offset) -> u64 {
        self.view(key)
            .map_or(0, |view| view.givable_count(end) as u64)
    }

    /// Learns what a record did.
    pub(super) fn absorb(&mut self, state: &State, effects: &Effects) {
        for &(key, first, end) in &effects.changed {
            if let (Some(view), Some(of)) = (self.views.get_mut(&key), state.subscription(key)) {
                view.change(of, first, end);
            }
        }
    }

    /// Messages were given out.
    pub(super) fn give(&mut self, key: SubscriptionKey, ranges: &[OffsetRange]) {
        if let Some(view) = self.views.get_mut(&key) {
            for range in ranges {
                view.give(range.first, range.end());
            }
        }
    }

    /// A subscription has changed as a whole.
    pub(super) fn change(&mut self, key: SubscriptionKey, change: &Change) {
        match change {
            Change::Return { ranges, .. } => {
                let mut ranges = ranges.iter();
                if let Some(view) = self.views.get_mut(&key)
                    && !ranges.all(|range| view.come_back(range.first, range.end()))
                {
                    self.views.remove(&key);
                }
            }
            Change::Configure(_) | Change::Purge(_) | Change::Seek { .. } | Change::Unsubscribe => {
                self.views.remove(&key);
            }
            Change::Pause { .. }
            | Change::DeadLetters { .. }
            | Change::Forward { .. }
            | Change::Forwarded { .. } => {}
        }
    }

    /// A queue has gone.
    pub(super) fn forget(&mut self, queue: QueueId) {
        self.views.retain(|key, _| key.0 != queue);
    }

    fn view_mut(
        &mut self,
        key: SubscriptionKey,
        (of, leases): (&Subscription, &Leases),
        max: usize,
    ) -> &mut View {
        self.views.entry(key).or_insert_with(|| {
            self.next += 1;
            let leases = leases.iter().filter(|(_, lease)| lease.key == key);
            let runs = leases.flat_map(|(_, lease)| lease.runs());
            let mut held: Vec<_> = runs.map(|run| (run.first, run.end())).collect();
            held.sort_unstable();
            View::from((self.next, max), of.done, held)
        })
    }

    /// O(n) check of every view; for tests.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self, state: &State) {
        for (key, view) in &self.views {
            let queue = state.queues.get(key.0).expect("the queue of a view");
            let of = queue
                .subscription(key.1)
                .expect("the subscription of a view");
            assert_eq!(of.config.contract, Contract::KeyOrdered, "{key:?}");
            let leases = state.leases.iter().filter(|(_, lease)| lease.key == *key);
            let leases: Vec<_> = leases.map(|(_, lease)| lease).collect();
            view.assert_consistent(of, queue.end, |offset| {
                leases.iter().any(|lease| lease.run_at(offset).is_some())
            });
            let asked = self.asked.iter().filter(|it| it.view == view.number);
            assert_eq!(asked.count(), view.asked, "{key:?}");
        }
    }
}

impl Engine {
    /// Messages were enqueued: those who follow the end of the queue learn their keys.
    pub(super) fn follow_keys(&mut self, queue: QueueId, first: Offset, batch: &Batch<'_>) {
        if self.keys.views.is_empty() {
            return;
        }
        let of_queue = (queue, SubscriptionId(0))..=(queue, SubscriptionId(u32::MAX));
        let mut keys: Option<Vec<Key>> = None;
        for (&key, view) in self.keys.views.range_mut(of_queue) {
            if let Some(of) = self.state.subscription(key) {
                let keys = keys.get_or_insert_with(|| keys_of(batch).collect());
                view.follow(of, first, keys);
            }
        }
    }

    /// Asks for the records whose keys a subscription will need next, unless some are on their way.
    pub(super) fn read_keys(&mut self, key: SubscriptionKey, outputs: &mut VecDeque<Output>) {
        let Some(queue) = self.state.queues.get(key.0) else {
            return;
        };
        let Some(of) = queue.subscription(key.1) else {
            return;
        };
        let visible = queue.visible_end(self.committed);
        let view = self
            .keys
            .view_mut(key, (of, &self.state.leases), self.limits.keys_max);
        if view.asked > 0 {
            return;
        }
        while let Some((from, to)) = view.wanted(of, visible) {
            match queue.runs.at(from) {
                RunsAt::Here(runs, end) => {
                    let to = to.min(end).min(visible);
                    let number = view.number;
                    let asked: Vec<Run> = ask_for(of, runs, to);
                    view.asked = asked.len();
                    self.ask_for_keys((key, number), asked, outputs);
                    return;
                }
                RunsAt::Away(first, place) => return self.load(key.0, (first, place), outputs),
                // What is not kept has no key, and whoever is given it is told that it cannot be read.
                RunsAt::Nothing => view.read(of, from, repeat_n(Key::NONE, 1)),
            }
        }
    }

    fn ask_for_keys(
        &mut self,
        (key, view): (SubscriptionKey, u64),
        mut runs: Vec<Run>,
        outputs: &mut VecDeque<Output>,
    ) {
        self.moves.resolve(&mut runs);
        for run in runs {
            self.keys.asked.push_back(Asked {
                key,
                view,
                first: run.first,
                count: run.count,
                index: run.index,
            });
            outputs.push_back(Output::Fetch {
                whose: FetchFor::Keys,
                lsn: run.lsn,
                first: Offset(run.first.0 - u64::from(run.index)),
            });
        }
    }

    /// A record was read, or cannot be: then its messages count as without a key, so that whoever is given one of them
    /// is told.
    pub(super) fn on_keys_fetched(&mut self, batch: Option<&[u8]>, outputs: &mut VecDeque<Output>) {
        let Some(asked) = self.keys.asked.pop_front() else {
            return;
        };
        self.loads.holds_waits = false;
        let key = asked.key;
        let view = self.keys.views.get_mut(&key);
        let view = view.filter(|view| view.number == asked.view);
        let (Some(view), Some(of)) = (view, self.state.subscription(key)) else {
            return;
        };
        view.asked -= 1;
        let is_over = view.asked == 0;
        let count = asked.count as usize;
        let batch = batch.and_then(|bytes| Batch::trusted(bytes).ok());
        let keys = batch.iter().flat_map(keys_of).skip(asked.index as usize);
        view.read(
            of,
            asked.first,
            keys.chain(repeat_n(Key::NONE, count)).take(count),
        );
        if self.status == Status::Serving {
            if is_over {
                self.read_keys(key, outputs);
            }
            self.demand.activate(key);
        }
    }

    /// Whether a subscription may have messages to give out of which it has to read the keys first.
    pub(super) fn lacks_keys(&self, key: SubscriptionKey) -> bool {
        let queue = self.state.queues.get(key.0);
        let found = queue.and_then(|queue| Some((queue, queue.subscription(key.1)?)));
        let is_ordered = |of: &Subscription| of.config.contract == Contract::KeyOrdered;
        let Some((queue, of)) = found.filter(|(_, of)| is_ordered(of) && of.pause.is_none()) else {
            return false;
        };
        let visible = queue.visible_end(self.committed);
        match self.keys.view(key) {
            Some(view) => view.asked > 0 || view.is_behind(of, visible),
            None => of.unfinished_from(of.done, visible) < visible,
        }
    }
}

/// The records of runs up to `to` in which anything is unfinished, as many as are read at once.
fn ask_for(of: &Subscription, runs: &[EnqueueRun], to: Offset) -> Vec<Run> {
    let mut left = SLICE_BYTES;
    let mut asked = Vec::new();
    for run in runs.iter().take_while(|run| run.first < to) {
        if of.unfinished_from(run.first, run.end()) == run.end() {
            continue;
        }
        asked.push(Run {
            lsn: run.lsn,
            index: 0,
            first: run.first,
            count: run.count,
            attempt: 0,
            enqueued: run.time,
        });
        left = left.saturating_sub(run.record_bytes());
        if left == 0 {
            break;
        }
    }
    asked
}

/// The keys of a batch's messages.
fn keys_of(batch: &Batch<'_>) -> impl Iterator<Item = Key> {
    batch.iter().map(|message| {
        let key = message.ok().and_then(|message| message.key);
        Key::of(key)
    })
}

/// Length of the records that are read at once for one subscription.
const SLICE_BYTES: u64 = 256 << 10;
