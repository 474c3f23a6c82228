use super::*;
use crate::limits::SWEEP_MAX;

const KEY: (QueueId, ProducerId) = (QueueId(1), ProducerId(2));

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn judge(producers: &Producers, sequence: u64) -> Verdict {
    producers.judge(KEY.0, KEY.1, Sequence(sequence))
}

/// A producer that sent `count` batches of three messages each, with `gap` foreign messages between them.
fn sent(count: u64, gap: u64) -> Producers {
    let mut producers = Producers::default();
    for sequence in 0..count {
        let range = range(sequence * (3 + gap), 3);
        producers
            .record(KEY, Sequence(sequence), range, LeaseTime(sequence))
            .unwrap();
    }
    producers
}

#[test]
fn last_batches_are_recognised_and_older_ones_are_not() {
    for gap in [0, 1] {
        let producers = sent(PRODUCER_WINDOW + 10, gap);
        assert_eq!(judge(&producers, 9), out_of(PRODUCER_WINDOW + 10));
        for sequence in [10, 11, 500, PRODUCER_WINDOW + 9] {
            assert_eq!(
                judge(&producers, sequence),
                Verdict::Duplicate(range(sequence * (3 + gap), 3))
            );
        }
        assert_eq!(judge(&producers, PRODUCER_WINDOW + 10), Verdict::Next);
        assert_eq!(
            judge(&producers, PRODUCER_WINDOW + 11),
            out_of(PRODUCER_WINDOW + 10)
        );
    }
}

#[test]
fn producer_alone_in_its_queue_needs_one_run() {
    let producers = sent(PRODUCER_WINDOW * 3, 0);
    assert_eq!(producers.windows.get(&KEY).unwrap().runs.len(), 1);
}

#[test]
fn last_number_of_all_is_never_taken() {
    let mut producers = sent(1, 0);
    if let Some(window) = producers.windows.get_mut(&KEY) {
        window.next = Sequence(u64::MAX);
    }
    assert_eq!(judge(&producers, u64::MAX), out_of(u64::MAX));
}

#[test]
fn idle_window_goes_and_its_producer_is_unknown() {
    let mut producers = sent(2, 0);
    let idle = LeaseTime(1).later(PRODUCER_IDLE);
    assert_eq!(
        producers.next_check(),
        Some(LeaseTime(0).later(PRODUCER_IDLE))
    );
    producers.sweep(LeaseTime(idle.0 - 1), SWEEP_MAX);
    assert_eq!(producers.len(), 1);
    assert_eq!(producers.next_check(), Some(idle));
    producers.sweep(idle, SWEEP_MAX);
    assert_eq!(producers.len(), 0);
    assert_eq!(judge(&producers, 2), Verdict::UnknownProducer);
    assert_eq!(judge(&producers, 0), Verdict::First);
}

#[test]
fn deleted_queue_takes_only_its_windows_along() {
    let mut producers = sent(1, 0);
    for queue in [0, 2] {
        let key = (QueueId(queue), KEY.1);
        producers
            .record(key, Sequence(0), range(0, 1), LeaseTime(0))
            .unwrap();
    }
    producers.forget(KEY.0);
    assert_eq!(producers.len(), 2);
    assert_eq!(judge(&producers, 0), Verdict::First);
    for queue in [0, 2] {
        let verdict = producers.judge(QueueId(queue), KEY.1, Sequence(1));
        assert_eq!(verdict, Verdict::Next);
    }
}

fn out_of(next: u64) -> Verdict {
    Verdict::OutOfSequence {
        next: Sequence(next),
    }
}
