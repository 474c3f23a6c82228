use super::*;

const LAYOUT: Layout = Layout {
    segment_base: Lsn(0),
    runs_max: 8,
};

fn run(lsn: u64, first: u64, count: u32) -> EnqueueRun {
    EnqueueRun {
        lsn: Lsn(lsn),
        first: Offset(first),
        count,
        bytes: 100 * count,
        largest: 100,
        time: Timestamp(lsn),
    }
}

/// Twenty batches of two messages.
fn twenty() -> Runs {
    let mut runs = Runs::default();
    for at in 0..20 {
        runs.push(run(10 + at, 2 * at, 2), LAYOUT);
    }
    runs
}

fn firsts(runs: &Runs) -> Vec<(u64, u64)> {
    let stretches = runs.stretches.iter();
    stretches
        .map(|(first, stretch)| (first.0, stretch.end.0))
        .collect()
}

fn found(runs: &Runs, offset: u64) -> Option<u64> {
    match runs.at(Offset(offset)) {
        RunsAt::Here(found, _) => Some(found[0].lsn.0),
        RunsAt::Away(..) | RunsAt::Nothing => None,
    }
}

#[test]
fn stretches_close_when_they_are_full_and_lookups_find_each_run() {
    let runs = twenty();
    assert_eq!(firsts(&runs), [(0, 16), (16, 32), (32, 40)]);
    for offset in 0..40 {
        assert_eq!(found(&runs, offset), Some(10 + offset / 2));
    }
    assert_eq!(found(&runs, 40), None);
}

#[test]
fn messages_that_are_done_leave_their_neighbours() {
    let mut runs = twenty();
    runs.kill(Offset(20), Offset(36));
    assert_eq!(firsts(&runs), [(0, 16), (16, 32), (32, 40)]);
    assert_eq!(runs.stretches[&Offset(16)].live, 4);
    runs.kill(Offset(16), Offset(20));
    assert_eq!(firsts(&runs), [(0, 16), (32, 40)]);
    assert_eq!(found(&runs, 18), None);
    assert_eq!(found(&runs, 38), Some(29));
    let kept = |from| {
        runs.kept_from(Offset(from))
            .map(|(first, end)| (first.0, end.0))
    };
    assert_eq!(kept(3), Some((3, 16)));
    assert_eq!(kept(16), Some((32, 40)));
    assert_eq!(kept(40), None);
    assert_eq!(runs.stretches[&Offset(32)].live_bytes(), 2 * (200 + 128));
}

#[test]
fn no_stretch_reaches_over_the_beginning_of_a_segment() {
    let mut runs = twenty();
    let at_16 = Layout {
        segment_base: Lsn(24),
        ..LAYOUT
    };
    runs.cut(at_16, |first, end| end.0 - first.0);
    assert_eq!(firsts(&runs), [(0, 16), (16, 28), (28, 32), (32, 40)]);
    for offset in 0..40 {
        assert_eq!(found(&runs, offset), Some(10 + offset / 2));
    }
    let at_end = Layout {
        segment_base: Lsn(30),
        ..LAYOUT
    };
    runs.cut(at_end, |first, end| end.0 - first.0);
    runs.push(run(30, 40, 1), at_end);
    runs.push(run(31, 41, 1), at_end);
    assert_eq!(firsts(&runs)[3..], [(32, 40), (40, 42)]);
}

#[test]
fn first_uncommitted_message_is_found_over_stretches() {
    let runs = twenty();
    assert_eq!(runs.first_from(Lsn(30)), None);
    assert_eq!(runs.first_from(Lsn(29)), Some(Offset(38)));
    assert_eq!(runs.first_from(Lsn(26)), Some(Offset(32)));
    assert_eq!(runs.first_from(Lsn(19)), Some(Offset(18)));
    assert_eq!(runs.first_from(Lsn(0)), Some(Offset(0)));
}

#[test]
fn runs_are_dropped_once_they_are_written_and_come_back() {
    let mut runs = twenty();
    assert_eq!(runs.unload(Offset(16)), Unloaded::NotWritten);
    let place = ChunkPlace {
        file: 1,
        bytes: 2,
        position: 3,
        crc: 4,
    };
    let StretchRuns::Apart { place: of, loaded } = &runs.stretches[&Offset(16)].runs else {
        panic!("it was closed");
    };
    of.set(place);
    let kept = loaded.as_deref().unwrap().clone();
    assert_eq!(runs.unload(Offset(16)), Unloaded::Dropped(8));
    assert!(matches!(runs.at(Offset(17)), RunsAt::Away(Offset(16), found) if found == place));
    assert_eq!(runs.away_behind(Offset(3)), Some((Offset(16), place)));
    assert_eq!(runs.away_behind(Offset(17)), None);
    assert_eq!(runs.load(Offset(16), kept[1..].to_vec()), None);
    assert_eq!(runs.load(Offset(15), kept.clone()), None);
    assert_eq!(runs.load(Offset(16), kept), Some(Offset(31)));
    assert_eq!(found(&runs, 17), Some(18));
}

/// Everything is live but what [`Runs::kill`] was told.
fn relocate(runs: &mut Runs, to: EnqueueRun, live_before: u64) -> Option<u64> {
    let at = runs.relocate(to, LAYOUT, |_, _| live_before);
    at.map(|first| first.0)
}

#[test]
fn what_is_relocated_leaves_its_stretch_in_two() {
    let mut runs = twenty();
    assert_eq!(relocate(&mut runs, run(50, 6, 1), 6), Some(6));
    assert_eq!(firsts(&runs), [(0, 6), (6, 7), (7, 16), (16, 32), (32, 40)]);
    let live = |runs: &Runs, first| runs.stretches[&Offset(first)].live;
    assert_eq!((live(&runs, 0), live(&runs, 6), live(&runs, 7)), (6, 1, 9));
    for offset in 0..40 {
        let expected = if offset == 6 { 50 } else { 10 + offset / 2 };
        assert_eq!(found(&runs, offset), Some(expected));
    }
    // The end of its stretch bounds what a lookup gives.
    let RunsAt::Here(here, end) = runs.at(Offset(4)) else {
        panic!("it is in memory");
    };
    assert_eq!((here[0].lsn, end), (Lsn(12), Offset(6)));
}

#[test]
fn relocated_runs_share_a_stretch_with_gaps() {
    let mut runs = twenty();
    runs.kill(Offset(1), Offset(5));
    runs.kill(Offset(7), Offset(16));
    assert_eq!(relocate(&mut runs, run(50, 0, 1), 0), Some(0));
    assert_eq!(relocate(&mut runs, run(51, 5, 2), 0), Some(0));
    assert_eq!(firsts(&runs), [(0, 7), (16, 32), (32, 40)]);
    let moved = &runs.stretches[&Offset(0)];
    assert_eq!((moved.live, moved.count), (3, 3));
    assert_eq!(found(&runs, 3), None, "a gap");
    assert_eq!((found(&runs, 0), found(&runs, 6)), (Some(50), Some(51)));
    let kept = |from| runs.kept_from(Offset(from)).map(|(a, b)| (a.0, b.0));
    assert_eq!(
        (kept(0), kept(1), kept(7)),
        (Some((0, 1)), Some((5, 7)), Some((16, 32)))
    );
    // What is left of it may end with a gap.
    let full = Layout {
        runs_max: 1,
        ..LAYOUT
    };
    assert_eq!(
        runs.relocate(run(60, 5, 2), full, |_, _| 1),
        Some(Offset(5))
    );
    assert_eq!(firsts(&runs), [(0, 5), (5, 7), (16, 32), (32, 40)]);
    let kept = |from| {
        runs.kept_from(Offset(from))
            .map(|(first, end)| (first.0, end.0))
    };
    assert_eq!((kept(1), kept(5)), (Some((5, 7)), Some((5, 7))));
    runs.kill(Offset(0), Offset(1));
    runs.kill(Offset(5), Offset(7));
    assert_eq!(firsts(&runs), [(16, 32), (32, 40)]);
}

#[test]
fn relocated_runs_hide_nothing_that_was_committed() {
    let mut runs = twenty();
    runs.kill(Offset(0), Offset(38));
    assert_eq!(relocate(&mut runs, run(50, 38, 2), 0), Some(38));
    assert_eq!(runs.first_from(Lsn(40)), None);
    runs.push(run(51, 40, 1), LAYOUT);
    assert_eq!(firsts(&runs), [(38, 40), (40, 41)], "new ones stand apart");
    assert_eq!(runs.first_from(Lsn(40)), Some(Offset(40)));
    let at_51 = Layout {
        segment_base: Lsn(51),
        ..LAYOUT
    };
    runs.cut(at_51, |first, end| end.0 - first.0);
    assert_eq!(firsts(&runs), [(38, 40), (40, 41)]);
}

#[test]
fn messages_that_are_not_kept_cannot_be_relocated() {
    let mut runs = twenty();
    runs.kill(Offset(0), Offset(16));
    let before = firsts(&runs);
    assert_eq!(relocate(&mut runs, run(50, 3, 1), 0), None, "gone");
    assert_eq!(relocate(&mut runs, run(50, 31, 2), 0), None, "over the end");
    assert_eq!(
        relocate(&mut runs, run(20, 16, 2), 0),
        None,
        "an old record"
    );
    assert_eq!(
        relocate(&mut runs, run(50, 30, 2), 15),
        None,
        "more than live"
    );
    assert_eq!(firsts(&runs), before);
}
