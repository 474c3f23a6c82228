//! How much disk checkpoints take, over random sequences.

use proptest::prelude::*;

use super::*;

/// What one generation changes: from `first` on, `count` chunks of about `bytes`, every `step`-th; `bytes` 0 removes.
#[derive(Clone, Debug)]
struct Change {
    first: u32,
    count: u32,
    step: u32,
    bytes: usize,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![1 => Just(0), 2 => 100..1_000_usize, 2 => 1_000..10_000_usize];
    let change =
        (0..200_u32, 0..60_u32, 1..5_u32, bytes).prop_map(|(first, count, step, bytes)| Change {
            first,
            count,
            step,
            bytes,
        });
    proptest::collection::vec(change, 1..30)
}

fn total(disk: &Memory) -> u64 {
    let files = disk.checkpoints(P).unwrap();
    files.iter().map(|(_, bytes)| bytes).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// (K3): what is kept has at most twice the bytes in use when the older kept generation began, and the files of
    /// the two kept generations. (K2): both come back, and every file is needed by one of them.
    #[test]
    fn kept_files_are_bounded(changes in changes()) {
        let mut disk = Memory::default();
        let mut state = State::default();
        let mut metas: Vec<CheckpointMeta> = Vec::new();
        let mut states: Vec<State> = Vec::new();
        for (round, change) in changes.iter().enumerate() {
            for key in (change.first..).step_by(change.step as usize).take(change.count as usize) {
                if change.bytes == 0 {
                    state.chunks.remove(&key);
                } else {
                    let seed = u64::from(key) << 32 | round as u64;
                    state.change(key, filler(seed, change.bytes));
                }
            }
            metas.push(state.checkpoint(&mut disk).unwrap());
            states.push(state.clone());
            let newest_two = metas.iter().rev().take(2);
            let own: u64 = newest_two.map(|meta| meta.files.last().unwrap().total).sum();
            let live = metas.iter().rev().nth(2).map_or(0, CheckpointMeta::live);
            let kept = total(&disk);
            prop_assert!(kept <= 2 * live + own, "{kept} bytes, {live} live, {own} own");
            let open = open(&disk);
            for (found, state) in open.found.iter().zip(states.iter().rev()) {
                let restored = State::restore(&disk, found).unwrap();
                prop_assert_eq!(restored.content(), state.content());
            }
            for file in files(&disk) {
                prop_assert!(open.found.iter().any(|found| found.meta().names(file)));
            }
        }
    }
}

/// With a state that keeps its size, and small changes, the files stay near twice the state, for ever.
#[test]
fn small_changes_for_long_take_twice_the_state() {
    let mut disk = Memory::default();
    let mut state = State::default();
    for key in 0..256 {
        state.change(key, filler(u64::from(key), 4_000));
    }
    let mut most = 0;
    let mut seed = 7_u32;
    for round in 0..300_u32 {
        for _ in 0..10 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.change(
                seed >> 24,
                filler(u64::from(seed) << 32 | u64::from(round), 4_000),
            );
        }
        state.checkpoint(&mut disk).unwrap();
        most = most.max(total(&disk));
    }
    let live = state.meta.unwrap().live();
    assert!(most < 2 * live + live / 2, "{most} bytes for {live}");
}
