//! What a client asks for, drawn at random.

use corelane_wire::{
    Aside, ConsumerId, Dequeue, Lane, Offset, OnSubscription, PartitionId, Peek, QueueList,
    Request, Subscribe, SubscriptionVerb,
};

use super::consumer::Consumer;
use super::{ANSWER_WAIT, Asked, Client, Scope};
use crate::sim::checker::{Event, QueueIndex, SubscriptionKey};
use crate::sim::clock::{MILLISECOND, Moment};

impl Client {
    pub(super) fn operate(&mut self, scope: &mut Scope<'_>) {
        let queue = self.random.below(u64::from(scope.plan.queues())) as u32;
        // Each client leans to one side of the work.
        let lean = u64::from(self.index % 3);
        let choice = self.random.below(100);
        match choice {
            0..=29 => self.enqueue(scope, queue),
            30..=44 if lean == 0 => self.enqueue(scope, queue),
            30..=44 => self.dequeue(scope, queue),
            45..=54 if lean == 2 => self.dequeue(scope, queue),
            45..=54 => self.subscribe(scope, queue),
            55..=64 => self.change_credit(scope),
            65..=67 => self.unsubscribe(scope),
            68..=77 => self.settle_oddly(scope),
            78..=83 => self.peek(scope, queue),
            84..=87 => self.show(scope, queue),
            88..=90 => self.list(scope, queue),
            91..=92 => self.metadata(scope),
            93..=95 => self.create(scope, queue),
            96 => self.delete(scope),
            97 => self.misbehave(scope),
            98 => self.administrate(scope, queue),
            _ => self.ask(scope, &Request::Ping, Asked::Nothing, ANSWER_WAIT),
        }
    }

    fn draw_subscription(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) -> SubscriptionKey {
        let all = scope.plan.names.subscriptions.len() as u64;
        let subscription = if self.random.one_in(3) {
            self.random.below(all) as u32
        } else {
            0
        };
        let of = SubscriptionKey {
            queue,
            subscription,
        };
        scope.attempted.insert(of);
        of
    }

    fn draw_lease(&mut self, scope: &Scope<'_>) -> u32 {
        let (low, high) = scope.plan.lease_ms;
        self.random.between(u64::from(low), u64::from(high)) as u32
    }

    fn dequeue(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let of = self.draw_subscription(scope, queue);
        let wait_ms = self.random.pick(&[0, 0, 1, 100, 1_500]);
        let subscription = scope.plan.subscription(of.subscription);
        let request = Request::Dequeue(Dequeue {
            queue: scope.plan.queue(queue),
            lane: Lane(0),
            subscription: if of.subscription == 0 {
                ""
            } else {
                subscription
            },
            count: self.random.skewed(1, 40) as u32,
            lease_ms: self.draw_lease(scope),
            wait_ms,
        });
        let wait = ANSWER_WAIT + Moment::from(wait_ms) * MILLISECOND;
        self.ask(scope, &request, Asked::Dequeue(of), wait);
    }

    fn subscribe(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        if self.consumers.len() >= 4 {
            return;
        }
        let of = self.draw_subscription(scope, queue);
        let credit = self.random.pick(&[0, 1, 2, 5, 30, 100]);
        let lease_ms = self.draw_lease(scope);
        self.subscribe_to(scope, of, credit, lease_ms);
    }

    pub(super) fn subscribe_to(
        &mut self,
        scope: &mut Scope<'_>,
        of: SubscriptionKey,
        credit: u32,
        lease_ms: u32,
    ) {
        let is_leaving = self
            .pending
            .values()
            .any(|pending| matches!(pending.asked, Asked::Unsubscribe(_)));
        let mut of = of;
        let wants_taken = self.random.one_in(30) && !is_leaving;
        match self.consumers.get(&self.consumer_ids) {
            // A number in use: must be refused, unless the request that was to make it is.
            Some(taken) if wants_taken => of = taken.of,
            Some(_) | None => self.consumer_ids += 1,
        }
        let id = self.consumer_ids;
        let request = Request::Subscribe(Subscribe {
            queue: scope.plan.queue(of.queue),
            lane: Lane(0),
            subscription: scope.plan.subscription(of.subscription),
            consumer: ConsumerId(id),
            credit,
            lease_ms,
        });
        let by = self.receiver(Some(id), 0);
        scope.events.push(Event::CreditInvoked { by, credit });
        let fresh = Consumer::new(of, credit);
        self.consumers.entry(id).or_insert(fresh).asked += 1;
        let asked = Asked::Subscribe {
            consumer: id,
            credit,
        };
        self.ask(scope, &request, asked, ANSWER_WAIT);
    }

    fn draw_consumer(&mut self) -> Option<u32> {
        let ids: Vec<u32> = self.consumers.keys().copied().collect();
        (!ids.is_empty()).then(|| self.random.pick(&ids))
    }

    fn change_credit(&mut self, scope: &mut Scope<'_>) {
        let Some(id) = self.draw_consumer() else {
            return;
        };
        let credit = self.random.pick(&[0, 0, 1, 3, 10, 50]);
        let by = self.receiver(Some(id), 0);
        scope.events.push(Event::CreditInvoked { by, credit });
        let request = Request::Credit {
            consumer: ConsumerId(id),
            credit,
        };
        let asked = Asked::Credit {
            consumer: id,
            credit,
        };
        self.ask(scope, &request, asked, ANSWER_WAIT);
    }

    fn unsubscribe(&mut self, scope: &mut Scope<'_>) {
        if let Some(id) = self.draw_consumer() {
            let request = Request::Unsubscribe {
                consumer: ConsumerId(id),
            };
            self.ask(scope, &request, Asked::Unsubscribe(id), ANSWER_WAIT);
        }
    }

    /// Pauses a subscription or lets it go on, or brings back what was set aside.
    fn administrate(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        if scope.plan.is_quiet {
            return;
        }
        let of = self.draw_subscription(scope, queue);
        let verb = match self.random.below(6) {
            0 => SubscriptionVerb::Pause { reason: "why" },
            1 | 2 => SubscriptionVerb::Resume,
            _ => SubscriptionVerb::Return {
                aside: self.random.pick(&[Aside::Dead, Aside::Parked]),
                first: Offset(self.random.skewed(1, 100) - 1),
                end: Offset(u64::MAX),
                max: self.random.skewed(1, 50) as u32,
            },
        };
        self.ask_subscription(scope, of, verb);
    }

    pub(super) fn ask_subscription(
        &mut self,
        scope: &mut Scope<'_>,
        of: SubscriptionKey,
        verb: SubscriptionVerb<'_>,
    ) {
        let request = Request::Subscription(OnSubscription {
            queue: scope.plan.queue(of.queue),
            lane: Lane(0),
            subscription: scope.plan.subscription(of.subscription),
            verb,
        });
        self.ask(scope, &request, Asked::Subscription, ANSWER_WAIT);
    }

    fn peek(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let request = Request::Peek(Peek {
            queue: scope.plan.queue(queue),
            lane: Lane(0),
            from: Offset(self.random.skewed(1, 200) - 1),
            count: self.random.skewed(1, 50) as u32,
        });
        self.ask(scope, &request, Asked::Peek(queue), ANSWER_WAIT);
    }

    pub(super) fn show(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let request = Request::QueueShow {
            queue: scope.plan.queue(queue),
        };
        let round = self.round;
        self.ask(scope, &request, Asked::Show { queue, round }, ANSWER_WAIT);
    }

    fn list(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let request = Request::QueueList(QueueList {
            partition: PartitionId(scope.plan.names.partitions[queue as usize]),
            after: "",
            limit: self.random.between(1, 3) as u32,
        });
        self.ask(scope, &request, Asked::Nothing, ANSWER_WAIT);
    }

    fn metadata(&mut self, scope: &mut Scope<'_>) {
        self.ask(scope, &Request::Metadata, Asked::Nothing, ANSWER_WAIT);
    }

    fn create(&mut self, scope: &mut Scope<'_>, queue: QueueIndex) {
        let request = Request::QueueCreate {
            queue: scope.plan.queue(queue),
            lanes: 1,
        };
        self.ask(scope, &request, Asked::Nothing, ANSWER_WAIT);
    }

    fn delete(&mut self, scope: &mut Scope<'_>) {
        if let Some(queue) = scope.plan.fleeting {
            scope.events.push(Event::DeleteInvoked { queue });
            scope.met.queue_deleted += 1;
            let request = Request::QueueDelete {
                queue: scope.plan.queue(queue),
            };
            self.ask(scope, &request, Asked::Delete(queue), ANSWER_WAIT);
        }
    }

    /// Sends what no client should: the broker must close the connection and nothing else.
    fn misbehave(&mut self, scope: &mut Scope<'_>) {
        if scope.plan.is_quiet || !self.random.one_in(3) {
            return;
        }
        scope.met.garbage_sent += 1;
        let count = self.random.between(40, 200);
        for _ in 0..count {
            let byte = self.random.below(256) as u8;
            self.outgoing.push(byte);
        }
    }
}
