//! File work.

use corelane_storage::Volume;

use super::*;

over_every_driver!(
    committed_block_is_read_back_and_closed_file_is_refused,
    read_past_the_end_is_short,
    many_writes_to_several_places_each_complete_once,
    no_commit_of_many_stays_out,
    full_disk_is_reported_with_the_buffer,
    segment_that_is_not_there_is_an_error_of_the_open,
    cancelled_file_work_still_reports_what_happened,
    spare_that_is_cancelled_is_whole,
    dropped_driver_leaves_no_thread_behind,
);

/// A driver for each way to commit.
fn of_every_mode<D: Tested>() -> impl Iterator<Item = Bench<D>> {
    let modes = [
        CommitMode::Fdatasync,
        CommitMode::Linked,
        CommitMode::RwfDsync,
    ];
    modes.into_iter().map(|commit_mode| {
        Bench::with(&Sizes {
            commit_mode,
            ..Sizes::default()
        })
    })
}

fn block(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::zeroed(bytes.len());
    buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    buffer
}

fn read(file: File, position: u64, bytes: usize) -> Op {
    Op::Read {
        file,
        position,
        buffer: Buffer::zeroed(bytes),
        bytes,
    }
}

fn committed_block_is_read_back_and_closed_file_is_refused<D: Tested>() {
    for mut bench in of_every_mode::<D>() {
        let file = bench.segment(1 << 20);
        let bytes = pattern(8_192);
        let write = Op::Write {
            file,
            position: 4_096,
            buffer: block(&bytes),
            bytes: 8_192,
            durable: true,
        };
        let done = bench.run(SEND, write);
        assert_eq!(done.result, Ok(8_192));
        assert!(matches!(&done.data, Data::Block(buffer) if buffer.as_slice()[..8_192] == bytes));
        let done = bench.run(RECV, read(file, 4_096, 8_192));
        assert_eq!(done.result, Ok(8_192));
        assert!(matches!(&done.data, Data::Block(buffer) if buffer.as_slice()[..8_192] == bytes));
        let stats = bench.driver.stats();
        assert_eq!(stats.commit.read().count, 1);
        assert_eq!(stats.read.read().count, 1);
        let done = bench.run(CLOSE, Op::CloseFile { file });
        assert_eq!(done.result, Ok(0));
        let done = bench.run(RECV, read(file, 0, 4_096));
        assert_eq!(done.result, Err(Errno(libc::EBADF)));
        assert!(matches!(done.data, Data::Block(_)));
    }
}

fn read_past_the_end_is_short<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let file = bench.segment(1 << 20);
    let done = bench.run(RECV, read(file, (1 << 20) - 4_096, 8_192));
    assert_eq!(done.result, Ok(4_096));
    let done = bench.run(RECV, read(file, 1 << 20, 4_096));
    assert_eq!(done.result, Ok(0));
}

fn many_writes_to_several_places_each_complete_once<D: Tested>() {
    for mut bench in of_every_mode::<D>() {
        let file = bench.segment(4 << 20);
        let place = |index: u8| (Token(100 + u64::from(index)), u64::from(index) * 4_096);
        for index in 0..64 {
            let (token, position) = place(index);
            let write = Op::Write {
                file,
                position,
                buffer: block(&[index; 4_096]),
                bytes: 4_096,
                durable: index % 2 == 0,
            };
            assert!(bench.driver.submit(token, write).is_none());
        }
        for index in 0..64 {
            assert_eq!(bench.next(place(index).0).result, Ok(4_096));
        }
        for index in 0..64 {
            let (_, position) = place(index);
            let done = bench.run(RECV, read(file, position, 4_096));
            assert!(matches!(done.data, Data::Block(buffer) if buffer.as_slice()[17] == index));
        }
        bench.expect_quiet();
    }
}

/// Commits one after the other if the environment does not say.
const COMMITS: u64 = 300;
/// Says how many commits there shall be.
const COMMITS_VARIABLE: &str = "CORELANE_TEST_COMMITS";

fn no_commit_of_many_stays_out<D: Tested>() {
    let told = std::env::var(COMMITS_VARIABLE);
    let commits = told.map_or(COMMITS, |commits| commits.parse().unwrap());
    let mut bench = Bench::<D>::new();
    let file = bench.segment(1 << 20);
    let mut buffer = Buffer::zeroed(4_096);
    for commit in 0..commits {
        let write = Op::Write {
            file,
            position: commit % 256 * 4_096,
            buffer,
            bytes: 4_096,
            durable: true,
        };
        assert!(bench.driver.submit(SEND, write).is_none());
        // A commit that stays out costs all of the patience.
        let begun = Instant::now();
        let done = bench.next(SEND);
        assert!(begun.elapsed() < PATIENCE, "commit {commit} stayed out");
        assert_eq!(done.result, Ok(4_096));
        let Data::Block(back) = done.data else {
            panic!("no buffer");
        };
        buffer = back;
    }
    assert_eq!(bench.driver.stats().commit.read().count, commits);
}

fn full_disk_is_reported_with_the_buffer<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let file = bench.adopt(Path::new("/dev/full"));
    let write = Op::Write {
        file,
        position: 0,
        buffer: block(&[1; 4_096]),
        bytes: 4_096,
        durable: true,
    };
    let done = bench.run(SEND, write);
    assert_eq!(done.result, Err(Errno::NO_SPACE));
    assert!(matches!(done.data, Data::Block(_)));
    assert_eq!(bench.driver.stats().commit.read().count, 0);
}

fn segment_that_is_not_there_is_an_error_of_the_open<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let open = Op::OpenSegment {
        partition: PartitionId(3),
        segment: SegmentNumber(9),
    };
    let done = bench.run(RECV, open);
    assert_eq!(done.result, Err(Errno(libc::ENOENT)));
    assert_eq!(
        bench.volumes.segments(PartitionId(3)).unwrap_or_default(),
        []
    );
}

fn cancelled_file_work_still_reports_what_happened<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let file = bench.segment(1 << 20);
    let write = Op::Write {
        file,
        position: 0,
        buffer: block(&[7; 4_096]),
        bytes: 4_096,
        durable: true,
    };
    assert!(bench.driver.submit(SEND, write).is_none());
    bench.driver.cancel(SEND);
    assert_eq!(bench.next(SEND).result, Ok(4_096));
    bench.expect_quiet();
}

fn spare_that_is_cancelled_is_whole<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let bytes = 16 << 20;
    for number in 0..3 {
        let spare = SpareId(number);
        let make = Op::Housekeeping(Chore::Task(Task::MakeSpare { spare, bytes }));
        assert!(bench.driver.submit(RECV, make).is_none());
        // Another operation's end hastens nothing.
        bench.driver.cancel(SEND);
        bench.driver.cancel(RECV);
        assert_eq!(bench.next(RECV).result, Ok(1));
    }
    let made: Vec<_> = (0..3).map(|number| (SpareId(number), bytes)).collect();
    assert_eq!(bench.volumes.spares().unwrap(), made);
    bench.expect_quiet();
}

fn dropped_driver_leaves_no_thread_behind<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let file = bench.segment(1 << 20);
    for index in 0..8 {
        let token = Token(100 + index);
        assert!(bench.driver.submit(token, read(file, 0, 4_096)).is_none());
    }
    // Joins the threads; the test ends only if they do.
    drop(bench);
}
