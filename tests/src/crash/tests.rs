use std::collections::BTreeSet;

use super::choice::{Choice, choices, stop};
use super::client::Fact;
use super::driver::Fault;
use super::harm::{Harm, Verdict};
use super::judge::Judge;
use super::reference::Reference;
use super::script::{Played, play};
use super::setup::{QUEUES, Setup};
use super::state::{Crash, Run, StateId};
use crate::sim::checker::Body;
use crate::sim::disk::{Disk, FileName, SECTOR_BYTES};
use crate::sim::disk_flight::Fate;
use crate::sim::swarm::DiskFaults;

const SEED: u64 = 2;

fn run() -> Run {
    Run::new(SEED, 0, 0).unwrap()
}

/// What the judge says to a disk that has seen so many changes as far as clients were told.
fn verdict(run: &Run, image: Disk, changes: usize) -> Verdict {
    let mut judge = Judge::new(&run.setup, &run.reference);
    judge.judge(image, changes, run.played.now)
}

fn kind(harm: &Harm) -> &'static str {
    match harm {
        Harm::Lost(_) => "lost",
        Harm::Wrong(_) => "wrong",
        Harm::Unrecovered(_) => "unrecovered",
    }
}

/// The kind of harm that a tampered run is found to have done.
fn harm_of(played: &Played) -> &'static str {
    let reference = Reference::new(played);
    kind(&reference.err().expect("what was planted is found"))
}

#[test]
fn a_seed_is_played_alike_twice() {
    let (first, second) = (run(), run());
    assert_eq!(first.played.facts, second.played.facts);
    assert_eq!(first.played.written, second.played.written);
    let changes = |run: &Run| {
        let moments = run.played.moments.iter();
        moments
            .map(|moment| format!("{:?}", moment.change))
            .collect::<Vec<_>>()
    };
    assert_eq!(changes(&first), changes(&second));
}

#[test]
fn scripts_fill_segments_and_do_everything_once() {
    let mut kinds = BTreeSet::new();
    for seed in 1..=4 {
        let played = play(&Setup::draw(seed), None).unwrap();
        let names: BTreeSet<&FileName> = played.moments.iter().map(|it| &it.change.name).collect();
        let is_segment = |name: &&&FileName| matches!(name, FileName::Segment(..));
        assert!(names.iter().filter(is_segment).count() >= 3, "{names:?}");
        kinds.extend(played.written.iter().map(|record| record.kind));
    }
    let reject = corelane_wire::record::record_kind::REJECT;
    let expected = (1..=12).chain([reject]);
    assert_eq!(
        kinds,
        expected.collect(),
        "every kind of record of these scripts"
    );
}

#[test]
fn scripts_take_checkpoints() {
    let mut done = BTreeSet::new();
    for seed in 1..=16 {
        let played = play(&Setup::draw(seed), None).unwrap();
        let changes = played.moments.iter().map(|moment| &moment.change);
        done.extend(changes.map(|change| {
            let kind = match change.name {
                FileName::Named(_) => "named",
                FileName::Spare(_) => "spare",
                FileName::Segment(..) => "segment",
                FileName::Checkpoint(..) => "checkpoint",
                FileName::Draft(_) => "draft",
            };
            (change.verb, kind)
        }));
    }
    let wanted = [
        ("create", "spare"),
        ("rename", "spare"),
        ("write", "segment"),
        ("sync", "segment"),
        ("write", "draft"),
        ("rename", "draft"),
        ("remove", "checkpoint"),
        ("replace", "named"),
    ];
    for change in wanted {
        assert!(done.contains(&change), "{change:?} is not among {done:?}");
    }
}

#[test]
fn the_states_of_a_run_do_no_harm() {
    let run = run();
    let mut judge = Judge::new(&run.setup, &run.reference);
    let crashes: Vec<Crash> = run.crashes().collect();
    for crash in crashes.iter().step_by(crashes.len() / 200) {
        run.judge(&mut judge, *crash).unwrap();
    }
    let crash = crashes[crashes.len() / 2];
    let recovery = run.recovery(crash).unwrap();
    let agains = recovery.agains(SEED);
    assert!(agains.len() > 20);
    for again in &agains {
        run.judge_again(&mut judge, (crash, again), &recovery)
            .unwrap();
    }
}

#[test]
fn a_run_in_which_a_sync_fails_does_no_harm() {
    let calls = run().played.calls;
    let setup = Setup::draw(SEED);
    let mut poisoned = 0;
    for call in (1..=calls).step_by(7) {
        let fate = Fate::SyncError;
        let played = play(&setup, Some(Fault { call, fate })).unwrap();
        let reference = Reference::new(&played).unwrap();
        let mut judge = Judge::new(&setup, &reference);
        let moments = played.moments.len();
        for keeps_doubtful in [true, false] {
            let mut image = played.last.snapshot();
            poisoned += u64::from(image.is_in_doubt());
            stop(&mut image, Choice::Kill { keeps_doubtful });
            judge.judge(image, moments, played.now).unwrap();
        }
    }
    assert!(poisoned > 0, "some of the calls were writes");
}

#[test]
fn a_disk_that_lacks_what_was_confirmed_is_found() {
    let run = run();
    let told = run.played.moments.len();
    for missing in [60, 100, 200] {
        let image = run.disk(told - missing).snapshot();
        assert_eq!(kind(&verdict(&run, image, told).unwrap_err()), "lost");
    }
}

#[test]
fn a_record_that_reads_as_another_is_found() {
    let mut run = run();
    let told = run.played.moments.len();
    let record = run
        .reference
        .records
        .iter_mut()
        .find(|record| record.kind == 3);
    *record.unwrap().payload.last_mut().unwrap() ^= 1;
    let image = run.played.last.snapshot();
    assert_eq!(kind(&verdict(&run, image, told).unwrap_err()), "wrong");
}

#[test]
fn a_log_that_does_not_recover_is_found() {
    let run = run();
    let told = run.played.moments.len();
    let mut image = run.played.last.snapshot();
    image.rot(&FileName::Segment(0, 0), 3 * SECTOR_BYTES as u64 - 1, 1);
    image.rot(&FileName::Segment(0, 0), 2 * SECTOR_BYTES as u64 + 200, 1);
    let harm = verdict(&run, image, told).unwrap_err();
    assert_eq!(kind(&harm), "unrecovered", "{harm}");
}

#[test]
fn answers_that_the_log_does_not_bear_out_are_found() {
    let tampered = |tamper: &dyn Fn(&mut Fact) -> bool| {
        let mut played = run().played;
        let mut facts = played.facts.iter_mut();
        assert!(facts.any(|(_, fact)| tamper(fact)), "there is such a fact");
        harm_of(&played)
    };
    let moved = tampered(&|fact| {
        if let Fact::Enqueued { first, .. } = fact {
            *first += 1;
            return true;
        }
        false
    });
    assert_eq!(moved, "wrong");
    let foreign = tampered(&|fact| {
        if let Fact::Given { body, .. } = fact {
            *body = Body::Foreign;
            return true;
        }
        false
    });
    assert_eq!(foreign, "wrong");
    let counted_twice = tampered(&|fact| {
        if let Fact::Given { attempt, .. } = fact {
            *attempt += 1;
            return true;
        }
        false
    });
    assert_eq!(counted_twice, "wrong");
    let unwritten = tampered(&|fact| {
        if let Fact::Settled { offset, .. } = fact {
            *offset += 10_000;
            return true;
        }
        false
    });
    assert_eq!(unwritten, "lost");
    let mut played = run().played;
    let tokens = vec![1 << 50];
    let never = Fact::Enqueued {
        queue: 0,
        first: 0,
        tokens,
    };
    played.facts.push((0, never));
    assert_eq!(harm_of(&played), "lost", "{}", QUEUES[0]);
}

#[test]
fn every_subset_of_few_writes_and_every_tear_is_a_choice() {
    let name = FileName::Spare(1);
    let mut disk = Disk::new(1, DiskFaults::default());
    disk.create_zeroed(name.clone(), 32 * SECTOR_BYTES as u64);
    assert_eq!(choices(&disk, 1), [Choice::Subset(0)]);
    for sector in 0..2 {
        disk.write(&name, sector * SECTOR_BYTES as u64, &[7; SECTOR_BYTES]);
    }
    let found = choices(&disk, 1);
    let subsets = found.iter().filter(|it| matches!(it, Choice::Subset(_)));
    assert_eq!(subsets.count(), 4);
    // Each write has 8 pieces: 7 prefixes and 8 holes; besides them a kill.
    assert_eq!(found.len(), 4 + 1 + 2 * (7 + 8));
    for sector in 2..14 {
        disk.write(&name, sector * SECTOR_BYTES as u64, &[7; SECTOR_BYTES]);
    }
    let found = choices(&disk, 1);
    let subsets = found.iter().filter(|it| matches!(it, Choice::Subset(_)));
    assert_eq!(subsets.count(), 2 + 2 * 14 + 256);
}

#[test]
fn a_choice_leaves_what_it_says() {
    let name = FileName::Spare(1);
    let mut disk = Disk::new(1, DiskFaults::default());
    disk.create_zeroed(name.clone(), 2 * SECTOR_BYTES as u64);
    disk.write(&name, 0, &[1; SECTOR_BYTES]);
    disk.write(&name, SECTOR_BYTES as u64, &[2; SECTOR_BYTES]);
    let left = |choice| {
        let mut disk = disk.snapshot();
        stop(&mut disk, choice);
        let mut bytes = [0; 2 * SECTOR_BYTES];
        disk.read(&name, 0, &mut bytes);
        [bytes[0], bytes[511], bytes[512], bytes[4_096], bytes[8_191]]
    };
    assert_eq!(left(Choice::Subset(0)), [0, 0, 0, 0, 0]);
    assert_eq!(left(Choice::Subset(1)), [1, 1, 1, 0, 0]);
    assert_eq!(left(Choice::Subset(2)), [0, 0, 0, 2, 2]);
    assert_eq!(left(Choice::Prefix(0, 1)), [1, 1, 0, 2, 2]);
    assert_eq!(left(Choice::Hole(1, 7)), [1, 1, 1, 2, 0]);
    let kill = Choice::Kill {
        keeps_doubtful: false,
    };
    assert_eq!(left(kill), [1, 1, 1, 2, 2]);
}

#[test]
fn states_have_names() {
    for name in ["0.0", "3.14", "0.15.92"] {
        assert_eq!(name.parse::<StateId>().unwrap().to_string(), name);
    }
    for text in ["", "7", "1.2.3.4", "1.x"] {
        assert!(text.parse::<StateId>().is_err(), "{text}");
    }
}
