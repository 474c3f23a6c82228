//! Crashes anywhere, again and again, also while recovering.

use corelane_wire::Lsn;
use proptest::prelude::*;

use crate::config::LogConfig;
use crate::rig::{DIRTS, Dirt, Rig, tiny_config};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Flush,
    Idle,
    /// One I/O of the log, written but not synced, if `sync` is false.
    Write {
        sync: bool,
    },
    /// A checkpoint, so many thousandths of the way from the last one to what is durable.
    Checkpoint(u64),
    Crash(Crash),
}

#[derive(Clone, Debug)]
struct Crash {
    /// Of 256, how many unsynced sectors reach the disk.
    odds: u64,
    seed: u64,
    /// After how many changes recovery is itself cut off, each time.
    fuses: Vec<usize>,
    /// Only the process dies: what was written stays.
    is_kill: bool,
}

fn keeper(seed: u64, odds: u64) -> impl FnMut(usize) -> bool {
    let mut state = seed | 1;
    move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) % 256 < odds
    }
}

fn crash_steps() -> impl Strategy<Value = Crash> {
    let odds = prop_oneof![Just(0), Just(256), Just(240), Just(16), 0..=256_u64];
    let fuses = proptest::collection::vec(0..12_usize, 0..4);
    (odds, any::<u64>(), fuses, any::<bool>()).prop_map(|(odds, seed, fuses, is_kill)| Crash {
        odds,
        seed,
        fuses,
        is_kill,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![Just(0), 0..200_usize, 0..4_000_usize, 0..8_000_usize];
    let step = prop_oneof![
        6 => bytes.prop_map(Step::Append),
        3 => Just(Step::Flush),
        2 => Just(Step::Idle),
        3 => any::<bool>().prop_map(|sync| Step::Write { sync }),
        2 => (0..=1_000_u64).prop_map(Step::Checkpoint),
        2 => crash_steps().prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Rig {
    /// Cuts the power or kills the process, recovers, and checks what must hold.
    fn crash_and_recover(&mut self, crash: &Crash) {
        let mut confirmed = self.log.durable();
        if !crash.is_kill {
            self.disk.crash(keeper(crash.seed, crash.odds));
        }
        for (at, fuse) in crash.fuses.iter().enumerate() {
            self.disk.fuse = Some(*fuse);
            if let Ok(found) = self.restart() {
                assert!(found.end >= confirmed);
                // It could have been served: what it found must survive from now on.
                confirmed = found.end;
            }
            self.disk.crash(keeper(crash.seed + at as u64, crash.odds));
        }
        let found = self.restart().expect("an honest disk is never damaged");
        assert!(
            found.end >= confirmed,
            "confirmed to {confirmed}, recovered to {}",
            found.end
        );
        let again = self.restart().unwrap();
        assert_eq!((again.end, again.truncated), (found.end, None));
    }
}

fn run(config: LogConfig, dirt: Dirt, steps: &[Step]) {
    let mut rig = Rig {
        dirt,
        ..Rig::with(config)
    };
    for step in steps {
        match step {
            Step::Append(bytes) => {
                rig.append(*bytes);
            }
            Step::Flush => rig.flush(),
            Step::Idle => {
                rig.idle();
            }
            Step::Write { sync } => {
                let Some(io) = rig.next_write() else {
                    continue;
                };
                rig.write(&io);
                if *sync {
                    rig.disk_sync(&io);
                    rig.done(io);
                } else {
                    // The process dies with the write in flight.
                    rig.crash_and_recover(&Crash {
                        odds: 128,
                        seed: rig.log.end().0 * 77 + 1,
                        fuses: Vec::new(),
                        is_kill: false,
                    });
                }
            }
            Step::Checkpoint(thousandths) => {
                let last = rig.checkpoint.0.0;
                let ahead = (rig.log.durable().0 - last) * thousandths / 1_000;
                rig.checkpoint(Lsn(last + ahead));
            }
            Step::Crash(crash) => rig.crash_and_recover(crash),
        }
    }
    rig.flush();
    let end = rig.log.end();
    assert_eq!(rig.restart().unwrap().end, end);
    rig.check_reads(Lsn(0));
    // A whole replay finds the same.
    rig.checkpoint = Default::default();
    assert_eq!(rig.restart().unwrap().end, end);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_confirmed_is_lost_whatever_crashes(dirt in 0..DIRTS.len(), steps in steps()) {
        run(tiny_config(), DIRTS[dirt], &steps);
    }

    #[test]
    fn nothing_durable_is_lost_on_a_member_of_a_chain(dirt in 0..DIRTS.len(), steps in steps()) {
        run(LogConfig { alone: false, ..tiny_config() }, DIRTS[dirt], &steps);
    }
}

/// A log whose last write is torn over a roll, with leftovers to wipe.
fn torn() -> Rig {
    let mut rig = Rig::new();
    for _ in 0..7 {
        rig.commit(5_000);
    }
    rig.append(7_900);
    let io = rig.next_write().unwrap();
    rig.write(&io);
    rig.disk.crash(|sector| sector % 5 != 2);
    rig
}

#[test]
fn recovery_can_be_cut_off_after_each_of_its_changes() {
    let mut whole = torn();
    let before = whole.disk.changes;
    let found = whole.restart().unwrap();
    assert!(found.truncated.is_some());
    let changes = whole.disk.changes - before;
    assert!(changes >= 3);
    for fuse in 0..changes {
        for odds in [0, 64, 128, 192, 256] {
            let mut rig = torn();
            rig.disk.fuse = Some(fuse);
            assert!(rig.restart().is_err());
            rig.disk.crash(keeper(fuse as u64 + 5, odds));
            let again = rig.restart().unwrap();
            assert_eq!(again.end, found.end, "cut off after {fuse} changes");
            assert_eq!(rig.restart().unwrap().truncated, None);
            rig.commit(5_000);
            assert_eq!(rig.restart().unwrap().end.0, found.end.0 + 1);
        }
    }
}
