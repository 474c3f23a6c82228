//! Waking: from another thread, from another driver, and in the moment in which a shard parks.

use corelane_core::mailbox::{Parked, Receiver, Sender, ring};

use super::*;

over_every_driver!(
    no_wake_from_another_thread_is_lost,
    wake_before_the_wait_ends_it,
    no_wake_is_lost_to_a_shard_that_parks,
);

/// Rounds of the race if the environment does not say; the full million takes a minute.
const ROUNDS: u64 = 30_000;
/// Says how many rounds the race shall have.
const ROUNDS_VARIABLE: &str = "CORELANE_TEST_WAKE_ROUNDS";

fn no_wake_from_another_thread_is_lost<D: Tested>() {
    const WAKES: u32 = 10_000;
    let mut bench = Bench::<D>::new();
    let waker = bench.driver.waker();
    let (ask, asked) = std::sync::mpsc::channel();
    let peer = std::thread::spawn(move || {
        for () in asked {
            waker.wake();
        }
    });
    for _ in 0..WAKES {
        let begun = Instant::now();
        ask.send(()).unwrap();
        bench.driver.wait(Some(PATIENCE), &mut bench.done).unwrap();
        assert!(begun.elapsed() < PATIENCE, "a wake was lost");
        assert!(bench.done.is_empty());
    }
    drop(ask);
    peer.join().unwrap();
}

fn wake_before_the_wait_ends_it<D: Tested>() {
    let mut first = Bench::<D>::new();
    let mut second = Bench::new();
    D::introduce(&mut [&mut first.driver, &mut second.driver]);
    let done = first.run(Token(1), Op::Wake { shard: ShardId(1) });
    assert_eq!(done.result, Ok(0));
    // A wake may leave with the next wait of the waking shard.
    first.expect_quiet();
    let begun = Instant::now();
    second
        .driver
        .wait(Some(PATIENCE), &mut second.done)
        .unwrap();
    assert!(begun.elapsed() < PATIENCE);
    let done = first.run(Token(1), Op::Wake { shard: ShardId(2) });
    assert_eq!(done.result, Err(Errno(libc::EBADF)));
}

/// One of two shards that hand a number back and forth and park in between.
struct Shard<D> {
    bench: Bench<D>,
    number: u16,
    own: Parked,
    other: Parked,
    to: Sender<u64>,
    from: Receiver<u64>,
    parks: u64,
}

impl<D: Tested> Shard<D> {
    /// Hands a number over, as a shard does at the end of its turn.
    fn send(&mut self, value: u64) {
        self.to.send(value).unwrap();
        if self.other.wake() {
            let shard = ShardId(1 - self.number);
            let woken = self.bench.driver.submit(Token(1), Op::Wake { shard });
            assert_eq!(woken.unwrap().result, Ok(0));
        }
    }

    /// Takes the next number, parked until it is there; a lost wake costs all of the patience.
    fn receive(&mut self) -> u64 {
        loop {
            // A different moment each time: the race is between parking and sending.
            for _ in 0..self.parks % 97 {
                std::hint::spin_loop();
            }
            self.own.park();
            let is_empty = self.from.is_empty();
            self.parks += u64::from(is_empty);
            let timeout = if is_empty { PATIENCE } else { Duration::ZERO };
            let begun = Instant::now();
            let driver = &mut self.bench.driver;
            driver.wait(Some(timeout), &mut self.bench.done).unwrap();
            assert!(begun.elapsed() < PATIENCE, "a wake was lost");
            self.own.unpark();
            if let Some(value) = self.from.receive() {
                return value;
            }
        }
    }
}

fn no_wake_is_lost_to_a_shard_that_parks<D: Tested>() {
    let told = std::env::var(ROUNDS_VARIABLE);
    let rounds = told.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (first_parked, second_parked) = (Parked::new(), Parked::new());
    let (there, arrives) = ring(4);
    let (back, returns) = ring(4);
    let mut first = Shard::<D> {
        bench: Bench::new(),
        number: 0,
        own: first_parked.clone(),
        other: second_parked.clone(),
        to: there,
        from: returns,
        parks: 0,
    };
    let mut second = Shard::<D> {
        bench: Bench::new(),
        number: 1,
        own: second_parked,
        other: first_parked,
        to: back,
        from: arrives,
        parks: 0,
    };
    D::introduce(&mut [&mut first.bench.driver, &mut second.bench.driver]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..rounds {
                assert_eq!(second.receive(), round);
                second.send(round);
            }
            // What was submitted with the last wake leaves with one more turn.
            second.bench.turn();
        });
        for round in 0..rounds {
            first.send(round);
            assert_eq!(first.receive(), round);
        }
        assert!(first.parks > 0);
    });
}
