//! Power cuts after every single operation.

use super::*;

/// How the sectors that were not synced come out of a power cut.
const KEEPS: [fn(usize) -> bool; 4] = [
    |_| false,
    |_| true,
    |sector| sector.is_multiple_of(2),
    |sector| !sector.is_multiple_of(3),
];

/// A disk with some generations, so that files are named, emptied and removed by the next one.
fn aged() -> (Memory, State) {
    let mut disk = Memory::default();
    let mut state = some_state(120);
    state.checkpoint(&mut disk).unwrap();
    for round in 1..4 {
        for key in (0..120).filter(|key| key % 5 < 2) {
            state.change(key, some_chunk(key, round));
        }
        state.checkpoint(&mut disk).unwrap();
    }
    disk.changes = 0;
    (disk, state)
}

#[test]
fn a_power_cut_anywhere_leaves_the_newest_durable_generation_or_the_one_before() {
    let (disk, before) = aged();
    let mut after = before.clone();
    for key in 100..140 {
        after.change(key, filler(u64::from(key), 20_000));
    }
    let changed = after.clone();
    let mut whole = disk.clone();
    after.checkpoint(&mut whole).unwrap();
    let removed = files(&disk).len() + 1 - files(&whole).len();
    assert!(removed > 0, "the last operations are removals");
    let operations = whole.changes;
    assert!(operations > 6, "{operations}");
    let mut published = 0;
    for fuse in 0..=operations {
        for keep in KEEPS {
            let mut disk = disk.clone();
            let mut state = changed.clone();
            disk.fuse = Some(fuse);
            let finished = state.checkpoint(&mut disk);
            disk.crash(keep);
            let open = open(&disk);
            assert_eq!(open.found.len(), 2, "after {fuse} operations");
            assert!(open.refused.is_empty(), "after {fuse} operations");
            let restored = State::restore(&disk, &open.found[0]).unwrap();
            if finished.is_ok() {
                published += 1;
                assert_eq!(restored.content(), after.content());
                assert_eq!(restored.meta, after.meta);
                let older = State::restore(&disk, &open.found[1]).unwrap();
                assert_eq!(older.content(), before.content());
            } else {
                assert_eq!(restored.content(), before.content());
                assert_eq!(restored.meta, before.meta);
                State::restore(&disk, &open.found[1]).unwrap();
            }
            goes_on(disk, restored);
        }
    }
    // Once published, the failing removals are no failure.
    assert_eq!(published, (removed + 1) * KEEPS.len());
}

/// From what a power cut left, the next two generations are whole again, and no file too many stays.
fn goes_on(mut disk: Memory, mut state: State) {
    for _ in 0..2 {
        state.change(7, some_chunk(7, 99));
        state.checkpoint(&mut disk).unwrap();
        let restored = State::restore(&disk, &open(&disk).found[0]).unwrap();
        assert_eq!(restored.content(), state.content());
    }
    assert!(disk.drafts.is_empty());
    let found = open(&disk).found;
    for file in files(&disk) {
        assert!(
            found.iter().any(|found| found.meta().names(file)),
            "file {file}"
        );
    }
}

/// Many generations, each cut somewhere, without a whole one in between for long.
#[test]
fn crash_after_crash_loses_no_durable_generation() {
    let (mut disk, mut durable) = aged();
    for round in 0..300_u32 {
        let mut state = durable.clone();
        state.change(round % 150, some_chunk(round % 150, round));
        state.change(150 + round % 7, some_chunk(round, round));
        disk.fuse = Some(round as usize * 7 % 13);
        let finished = state.checkpoint(&mut disk);
        disk.crash(KEEPS[round as usize % KEEPS.len()]);
        let restored = State::restore(&disk, &open(&disk).found[0]).unwrap();
        let expected = if finished.is_ok() { &state } else { &durable };
        assert_eq!(restored.content(), expected.content());
        durable = restored;
    }
    assert!(
        durable.end > Lsn(150),
        "some were finished: {}",
        durable.end
    );
}
