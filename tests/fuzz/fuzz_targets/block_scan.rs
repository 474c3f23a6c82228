//! Recovers a log from segment files that were made of arbitrary bytes, or of a written log with edits.
//!
//! See `edits` for the input. Recovery must not panic, must read each file a bounded number of times, and must
//! hand out only records that a second reader finds intact, in the order of their numbers. It must refuse when that
//! reader finds a proof that more was confirmed; when it refuses it must change nothing; when it has cut, a second
//! recovery must find the same log with nothing left to cut.

#![no_main]

use corelane_fuzz::files::Files;
use corelane_fuzz::opinion::{Opinion, Seen};
use corelane_fuzz::{edits, written};
use corelane_storage::{
    Buffer, Log, Lookup, RecoverError, Recovery, Scanned, SegmentTable, recover,
};
use corelane_wire::Lsn;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static WRITTEN: Files = written::log();
}

fuzz_target!(|input: &[u8]| {
    let Some(mut files) = WRITTEN.with(|written| edits::build(input, written)) else {
        return;
    };
    let before = files.segments.clone();
    let opinion = Opinion::on(&files);
    let (mut log, found, records) = match scan(&mut files) {
        Ok(recovered) => recovered,
        Err(error) => {
            assert!(!matches!(error, RecoverError::Io { .. }), "{error}");
            assert!(
                files.segments == before,
                "a refusal changed a file: {error}"
            );
            return;
        }
    };
    for record in &records {
        assert!(opinion.has(record), "not intact in any file: {record:?}");
    }
    let proof = opinion.proof_of_more(found.end);
    assert_eq!(proof, None, "cut at {} in spite of a proof", found.end);
    read_back(&mut log, &files, &records);
    let kept = files.segments.clone();
    let (_, again, same) = scan(&mut files).expect("it was recovered a moment ago");
    assert_eq!((again.end, again.truncated), (found.end, None));
    assert!(same == records && files.segments == kept);
});

/// One recovery, with its bounds and the order of its records checked.
fn scan(files: &mut Files) -> Result<(Log, Recovery, Vec<Seen>), RecoverError> {
    files.reads.set(0);
    let mut records = Vec::new();
    let outcome = recover(
        files,
        written::config(),
        (Lsn(0), &SegmentTable::default()),
        &mut |scanned| {
            let Scanned::Record(view) = scanned else {
                return Ok(());
            };
            assert_eq!(view.lsn, Lsn(records.len() as u64), "records are dense");
            records.push(Seen::from(view));
            Ok(())
        },
    );
    // A file fits into the window: the scan and the look-ahead read it, each at most twice.
    let reads_max = 4 * (files.segments.len() + 1);
    assert!(
        files.reads.get() <= reads_max,
        "{} reads",
        files.reads.get()
    );
    let (log, found) = outcome?;
    assert_eq!(found.end, Lsn(records.len() as u64));
    assert_eq!((found.records, log.end()), (found.end.0, found.end));
    Ok((log, found, records))
}

/// What recovery handed out can be read again.
fn read_back(log: &mut Log, files: &Files, records: &[Seen]) {
    for (lsn, record) in (0..).map(Lsn).zip(records) {
        if let Lookup::OnDisk {
            segment,
            position,
            bytes,
        } = log.reader().read(lsn)
        {
            let file = &files.segments[&segment.0];
            let from = usize::try_from(position).expect("files here are small");
            let read = &file[from..file.len().min(from + bytes)];
            let count = read.len();
            log.on_read_done(segment, position, Buffer::from_slice(read), Ok(count))
                .expect("recovery verified it");
        }
        match log.reader().read(lsn) {
            Lookup::Cached(view) => assert!(Seen::from(view) == *record),
            lookup => panic!("record {lsn} was read and is not there: {lookup:?}"),
        }
    }
}
