//! The life of a subscription, and of messages whose attempts fail, through the Rust client.

use std::time::Duration;

use corelane_client::{
    Acked, Aside, AsideCause, Client, Delivery, DequeueOptions, Error, ErrorCode, Message, Offset,
    PurgeStates, Settling, Start, Subscription, SubscriptionConfig, SubscriptionDetail,
    SubscriptionOptions, Timestamp,
};

use crate::Fixture;
use crate::client::{client_of, run};

const HOUR: Duration = Duration::from_hours(1);
const MOMENT: Duration = Duration::from_millis(50);
const QUEUE: &str = "orders";
const NAME: &str = "billing";

/// A broker, a client of it, and one subscription.
struct Bench {
    fixture: Fixture,
    client: Client,
    billing: Subscription,
}

impl Bench {
    async fn start(config: SubscriptionConfig) -> Self {
        let bench = Self::on(Fixture::start()).await;
        let start = None;
        let options = SubscriptionOptions { start, config };
        assert_eq!(bench.billing.create(options).await, Ok(true));
        bench
    }

    async fn on(fixture: Fixture) -> Self {
        let client = client_of(&fixture).await;
        let billing = client.admin().subscription(QUEUE, NAME);
        Self {
            fixture,
            client,
            billing,
        }
    }

    /// Kills the broker and starts it again on the same files.
    async fn crash(self) -> Self {
        let fixture = self.fixture;
        let restarting = tokio::task::spawn_blocking(move || fixture.crash());
        Self::on(restarting.await.unwrap()).await
    }

    async fn enqueue(&self, bodies: &[&str]) {
        let producer = self.client.producer(QUEUE).build().unwrap();
        for body in bodies {
            let outcome = producer.enqueue(&Message::new(*body)).await;
            assert!(outcome.is_confirmed(), "{outcome:?}");
        }
    }

    /// What is ready now.
    async fn take(&self) -> Vec<Delivery> {
        self.take_within(Duration::ZERO, HOUR).await
    }

    async fn take_within(&self, wait: Duration, lease: Duration) -> Vec<Delivery> {
        let options = DequeueOptions {
            subscription: NAME,
            count: 1_000,
            lease,
            wait,
        };
        self.client.dequeue_with(QUEUE, options).await.unwrap()
    }

    async fn take_one(&self) -> Delivery {
        let mut taken = self.take_within(HOUR, HOUR).await;
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    /// The subscription, for which the law holds at any time.
    async fn show(&self) -> SubscriptionDetail {
        let detail = self.billing.show().await.unwrap();
        assert_eq!(detail.enqueued, detail.accounted(), "{detail:?}");
        detail
    }

    /// First offset, count, attempts, cause and text of what was set aside.
    async fn aside(&self, aside: Aside) -> Vec<(u64, u32, u32, AsideCause, String)> {
        let page = self.billing.aside_list(aside, Offset(0), 1_000).await;
        let page = page.unwrap();
        assert_eq!(page.next, None);
        let rows = page.rows.into_iter();
        rows.map(|row| {
            assert!(row.leased <= row.since, "{row:?}");
            let (range, text) = (row.range, row.text);
            (range.first.0, range.count, row.attempts, row.cause, text)
        })
        .collect()
    }
}

fn bodies(taken: &[Delivery]) -> Vec<&str> {
    let bodies = taken.iter().map(Delivery::body);
    bodies
        .map(|body| std::str::from_utf8(body).unwrap())
        .collect()
}

/// Settles messages in one go.
async fn settle_all(taken: Vec<Delivery>, settle: impl FnMut(Delivery) -> Settling) {
    let settling: Vec<_> = taken.into_iter().map(settle).collect();
    for settled in settling {
        assert_eq!(settled.await, Ok(Acked::Done));
    }
}

fn code(error: &Error) -> ErrorCode {
    error.code().expect("the broker refused")
}

const NO_LIMIT: SubscriptionConfig = SubscriptionConfig::PLAIN;
const TWO_ATTEMPTS: SubscriptionConfig = SubscriptionConfig {
    attempts_max: 2,
    ..NO_LIMIT
};
const ALL: PurgeStates = PurgeStates {
    waiting: true,
    parked: true,
    dead: true,
};

#[test]
fn a_paused_subscription_gives_nothing_out_also_after_a_kill_until_it_is_resumed() {
    run(async {
        let bench = Bench::start(NO_LIMIT).await;
        bench.enqueue(&["held"]).await;
        let held = bench.take_one().await;
        bench.billing.pause("the bank is closed").await.unwrap();
        bench.enqueue(&["waits"]).await;
        assert!(bench.take().await.is_empty());
        assert_eq!(held.ack().await, Ok(Acked::Done), "leases go on");

        let bench = bench.crash().await;
        assert!(bench.take().await.is_empty());
        let paused = bench.show().await;
        assert_eq!((paused.done, paused.ready, paused.leased), (1, 1, 0));
        assert!(paused.paused && paused.paused_since > Timestamp(0));
        assert_eq!(paused.pause_reason, "the bank is closed");

        let waiting = bench.take_within(HOUR, HOUR);
        let (taken, resumed) = tokio::join!(waiting, bench.billing.resume());
        resumed.unwrap();
        assert_eq!(bodies(&taken), ["waits"], "who waits is served");
        let resumed = bench.show().await;
        assert!(!resumed.paused && resumed.pause_reason.is_empty());
    });
}

#[test]
fn a_paused_subscription_holds_no_other_up() {
    run(async {
        let bench = Bench::start(NO_LIMIT).await;
        bench.billing.pause("").await.unwrap();
        let audit = bench.client.admin().subscription(QUEUE, "audit");
        assert_eq!(audit.create(SubscriptionOptions::default()).await, Ok(true));
        bench.enqueue(&["a", "b"]).await;
        let options = DequeueOptions {
            subscription: "audit",
            count: 10,
            ..DequeueOptions::default()
        };
        let taken = bench.client.dequeue_with(QUEUE, options).await.unwrap();
        assert_eq!(bodies(&taken), ["a", "b"]);
        assert_eq!(bench.show().await.ready, 2);
    });
}

#[test]
fn what_failed_too_often_is_dead_with_its_history_until_it_is_redriven() {
    run(async {
        let bench = Bench::start(TWO_ATTEMPTS).await;
        bench.enqueue(&["a", "b", "c", "d"]).await;
        for attempt in 1..=2 {
            let mut taken = bench.take().await;
            assert_eq!(taken.len(), 4);
            let d = taken.pop().unwrap();
            d.give_back().await.unwrap();
            let settle = |delivery: Delivery| {
                assert_eq!(delivery.attempt(), attempt);
                match delivery.body() {
                    b"c" => delivery.nack(HOUR * u32::from(attempt == 2)),
                    _ => delivery.fail("no route"),
                }
            };
            settle_all(taken, settle).await;
        }
        let expected = [
            (0, 2, 2, AsideCause::Attempts, "no route".to_owned()),
            (2, 1, 2, AsideCause::Attempts, String::new()),
        ];
        assert_eq!(bench.aside(Aside::Dead).await, expected);

        let session = bench.client.session();
        let bench = bench.crash().await;
        assert_eq!(bench.aside(Aside::Dead).await, expected);
        let page = bench.billing.aside_list(Aside::Dead, Offset(1), 1).await;
        let page = page.unwrap();
        assert_eq!(page.rows[0].range.first, Offset(1), "from within a row");
        assert_eq!(page.rows[0].session, session, "of the client before");
        assert_eq!(page.next, Some(Offset(2)));

        let all = Offset(0)..Offset(u64::MAX);
        let first = bench
            .billing
            .aside_return(Aside::Dead, all.clone(), 1)
            .await;
        let first = first.unwrap();
        assert_eq!((first.count, first.next), (1, Offset(1)));
        let rest = bench
            .billing
            .aside_return(Aside::Dead, first.next..all.end, 10);
        let rest = rest.await.unwrap();
        assert_eq!((rest.count, rest.next), (2, all.end));
        let again = bench.billing.aside_return(Aside::Dead, all, 10).await;
        assert_eq!(again.unwrap().count, 0, "they are not dead any more");
        let taken = bench.take().await;
        let attempts: Vec<_> = taken.iter().map(Delivery::attempt).collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(attempts, [1; 4], "as if they had never been tried");
    });
}

#[test]
fn what_nobody_settles_before_its_lease_ends_is_dead_after_its_attempts() {
    run(async {
        let config = SubscriptionConfig {
            attempts_max: 1,
            ..NO_LIMIT
        };
        let bench = Bench::start(config).await;
        bench.enqueue(&["slow", "next"]).await;
        let taken = bench.take_within(HOUR, Duration::from_secs(1)).await;
        while bench.show().await.dead < 2 {
            // Each answer waits for a commit, so that this does not spin.
            bench.client.admin().queue_create("other").await.unwrap();
        }
        let expected = (0, 2, 1, AsideCause::LeaseExpired, String::new());
        assert_eq!(bench.aside(Aside::Dead).await, [expected]);
        for delivery in taken {
            let stale = delivery.ack().await.unwrap_err();
            assert!(matches!(stale, Error::StaleLease { .. }), "{stale}");
        }
    });
}

#[test]
fn what_is_killed_is_dead_at_once_and_what_failed_waits_for_the_back_off() {
    run(async {
        let config = SubscriptionConfig {
            attempts_max: 3,
            backoff_ms: 3_600_000,
            ..NO_LIMIT
        };
        let bench = Bench::start(config).await;
        bench.enqueue(&["bad", "busy"]).await;
        let [bad, busy] = <[_; 2]>::try_from(bench.take().await).unwrap();
        let (killed, failed) = (bad.kill("no such page"), busy.fail("out of paper"));
        assert_eq!(
            (killed.await, failed.await),
            (Ok(Acked::Done), Ok(Acked::Done))
        );
        let expected = (0, 1, 1, AsideCause::Rejected, "no such page".to_owned());
        assert_eq!(bench.aside(Aside::Dead).await, [expected]);
        let shown = bench.show().await;
        assert_eq!((shown.dead, shown.delayed, shown.ready), (1, 1, 0));
        assert!(bench.take().await.is_empty(), "an hour is not over");

        // A purge takes what waits, and leaves the rest.
        let waiting = PurgeStates {
            parked: false,
            dead: false,
            ..ALL
        };
        assert_eq!(bench.billing.purge(waiting).await, Ok(1));
        let shown = bench.show().await;
        assert_eq!((shown.purged, shown.dead, shown.delayed), (1, 1, 0));
    });
}

#[test]
fn what_is_parked_is_nobodys_until_it_is_kicked_and_goes_on_counting() {
    run(async {
        let bench = Bench::start(NO_LIMIT).await;
        bench.enqueue(&["a", "b"]).await;
        let taken = bench.take().await;
        settle_all(taken, |delivery| delivery.park("asks a person")).await;
        let bench = bench.crash().await;
        assert!(bench.take().await.is_empty());
        assert_eq!(bench.show().await.parked, 2);
        let expected = (0, 2, 1, AsideCause::Rejected, "asks a person".to_owned());
        assert_eq!(bench.aside(Aside::Parked).await, [expected]);
        assert_eq!(bench.aside(Aside::Dead).await, []);
        let b = Offset(1)..Offset(2);
        let as_dead = bench.billing.aside_return(Aside::Dead, b.clone(), 1).await;
        assert_eq!(as_dead.unwrap().count, 0);
        let kicked = bench.billing.aside_return(Aside::Parked, b, 1).await;
        assert_eq!(kicked.unwrap().count, 1);
        let kicked = bench.take_one().await;
        assert_eq!((kicked.body(), kicked.attempt()), (&b"b"[..], 2));
    });
}

#[test]
fn a_purge_finishes_everything_but_what_is_leased() {
    run(async {
        let bench = Bench::start(NO_LIMIT).await;
        bench
            .enqueue(&["leased", "dead", "parked", "ready", "ready"])
            .await;
        let mut taken = bench.take().await.into_iter();
        let mut next = || taken.next().unwrap();
        let leased = next();
        next().kill("").await.unwrap();
        next().park("").await.unwrap();
        next().give_back().await.unwrap();
        next().give_back().await.unwrap();
        assert_eq!(bench.billing.purge(ALL).await, Ok(4));
        assert_eq!(bench.billing.purge(ALL).await, Ok(0));
        let shown = bench.show().await;
        assert_eq!((shown.enqueued, shown.purged, shown.leased), (5, 4, 1));
        let bench = bench.crash().await;
        let shown = bench.show().await;
        assert_eq!((shown.enqueued, shown.purged), (5, 4));
        assert_eq!(leased.queue(), QUEUE);
    });
}

#[test]
fn a_subscription_is_sought_to_either_end_to_an_offset_and_to_a_time() {
    run(async {
        let bench = Bench::start(TWO_ATTEMPTS).await;
        // It needs everything, so that nothing goes.
        let keeper = bench.client.admin().subscription(QUEUE, "keeper");
        keeper.create(SubscriptionOptions::default()).await.unwrap();
        bench.enqueue(&["a", "b", "c", "d"]).await;
        let mut taken = bench.take().await.into_iter();
        let leased = taken.next_back().unwrap();
        for delivery in taken {
            delivery.ack().await.unwrap();
        }
        assert_eq!(
            bench.billing.seek(Start::At(Offset(1))).await,
            Ok(Offset(1))
        );
        let stale = leased.ack().await.unwrap_err();
        assert!(matches!(stale, Error::StaleLease { .. }), "{stale}");
        let sought = bench.show().await;
        assert_eq!(sought.config, TWO_ATTEMPTS);
        assert_eq!(
            (sought.begin, sought.enqueued, sought.done),
            (Offset(1), 3, 0)
        );
        assert_eq!(bodies(&bench.take().await), ["b", "c", "d"]);

        for beyond in [5, u64::MAX] {
            let refused = bench.billing.seek(Start::At(Offset(beyond))).await;
            assert_eq!(code(&refused.unwrap_err()), ErrorCode::OffsetNotKept);
        }
        assert_eq!(bench.billing.seek(Start::Latest).await, Ok(Offset(4)));
        assert!(bench.take().await.is_empty());
        assert_eq!(bench.billing.seek(Start::Earliest).await, Ok(Offset(0)));
        let bench = bench.crash().await;
        assert_eq!(bench.show().await.ready, 4);

        let admin = bench.client.admin();
        let peeked = admin.peek(QUEUE, Offset(0), 10).await.unwrap();
        let times: Vec<_> = peeked
            .into_iter()
            .map(|it| it.unwrap().enqueued())
            .collect();
        for time in &times {
            let expected = times.iter().position(|it| it >= time).unwrap() as u64;
            let found = admin.offset_since(QUEUE, *time).await;
            assert_eq!(found, Ok(Offset(expected)), "{times:?}");
        }
        let later = times[3].add(Duration::from_nanos(1));
        assert_eq!(admin.offset_since(QUEUE, later).await, Ok(Offset(4)));
    });
}

#[test]
fn a_deleted_subscription_is_gone_for_who_waits_and_after_a_kill() {
    run(async {
        let bench = Bench::start(NO_LIMIT).await;
        bench.enqueue(&["a"]).await;
        let held = bench.take_one().await;
        let builder = Client::builder().signs_of_life(MOMENT, HOUR);
        let client = builder
            .connect(&bench.fixture.broker.address.to_string())
            .await;
        let other = client.unwrap();
        let consumer = other.consumer(QUEUE).subscription(NAME).subscribe();
        let mut consumer = consumer.await.unwrap();
        let options = DequeueOptions {
            subscription: NAME,
            wait: HOUR,
            ..DequeueOptions::default()
        };
        let waiting = bench.client.dequeue_with(QUEUE, options);
        let deleting = async {
            // The dequeue waits in the broker once a call behind it is answered.
            bench.show().await;
            bench.billing.delete().await
        };
        let (waited, deleted) = tokio::join!(waiting, deleting);
        deleted.unwrap();
        assert_eq!(code(&waited.unwrap_err()), ErrorCode::SubscriptionNotFound);
        assert_eq!(
            code(&held.ack().await.unwrap_err()),
            ErrorCode::SubscriptionNotFound
        );
        let end = consumer.next().await.unwrap().unwrap_err();
        assert_eq!(code(&end), ErrorCode::SubscriptionNotFound, "{end}");
        assert!(consumer.next().await.is_none());
        let again = bench.billing.delete().await.unwrap_err();
        assert_eq!(code(&again), ErrorCode::SubscriptionNotFound);

        let bench = bench.crash().await;
        let gone = bench.billing.show().await.unwrap_err();
        assert_eq!(code(&gone), ErrorCode::SubscriptionNotFound);
        // With the last subscription its messages went.
        let queue = bench.client.admin().queue_show(QUEUE).await.unwrap();
        assert_eq!((queue.start, queue.end), (Offset(1), Offset(1)));
    });
}

#[test]
fn what_cannot_be_is_refused_with_what_it_is() {
    run(async {
        let bench = Bench::start(TWO_ATTEMPTS).await;
        let options = |start, config| SubscriptionOptions { start, config };
        let same = bench.billing.create(options(None, TWO_ATTEMPTS)).await;
        assert_eq!(same, Ok(false));
        let other = bench.billing.create(options(None, NO_LIMIT)).await;
        assert_eq!(code(&other.unwrap_err()), ErrorCode::SubscriptionExists);
        bench.billing.configure(NO_LIMIT).await.unwrap();
        let other = bench.billing.create(options(None, NO_LIMIT)).await;
        assert_eq!(other, Ok(false));
        let beyond = Some(Start::At(Offset(1)));
        let audit = bench.client.admin().subscription(QUEUE, "audit");
        let refused = audit.create(options(beyond, NO_LIMIT)).await;
        assert_eq!(code(&refused.unwrap_err()), ErrorCode::OffsetNotKept);

        let elsewhere = bench.client.admin().subscription("payments", NAME);
        for (on, expected) in [
            (&audit, ErrorCode::SubscriptionNotFound),
            (&elsewhere, ErrorCode::QueueNotFound),
        ] {
            let first = Offset(0)..Offset(1);
            let errors = [
                on.show().await.unwrap_err(),
                on.configure(NO_LIMIT).await.unwrap_err(),
                on.pause("").await.unwrap_err(),
                on.resume().await.unwrap_err(),
                on.seek(Start::Latest).await.unwrap_err(),
                on.delete().await.unwrap_err(),
                on.purge(ALL).await.unwrap_err(),
                on.aside_list(Aside::Dead, Offset(0), 1).await.unwrap_err(),
                on.aside_return(Aside::Dead, first, 1).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(code(&error), expected, "{error}");
            }
        }
    });
}
