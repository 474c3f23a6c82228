//! Surveys: whatever is damaged is named, and everything else is handed out.

use corelane_wire::Lsn;

use super::{filled, last_block};
use crate::layout::{BLOCK_ALIGN, SEGMENT_HEADER_BYTES};
use crate::memory::PARTITION;
use crate::recovery::{Finding, LogFault, Rebuilt, Surveyed, TornBy, rebuild, survey};
use crate::rig::Rig;

/// What a survey of a log met.
struct Met {
    end: Lsn,
    lsns: Vec<Lsn>,
    findings: Vec<Finding>,
}

/// Surveys, and checks that nothing is written, that what is handed out is what was appended, and that every record is
/// either handed out or in a damaged range.
fn met(rig: &Rig) -> Met {
    let (start, table) = &rig.checkpoint;
    let (mut lsns, mut findings) = (Vec::new(), Vec::new());
    let mut visit = |met: Surveyed<'_>| {
        match met {
            Surveyed::Record(record, _) => {
                let kept = &rig.model[usize::try_from(record.lsn.0).unwrap()];
                assert_eq!(record.head(), kept.head);
                assert_eq!(record.batch(), kept.batch);
                lsns.push(record.lsn);
            }
            Surveyed::Finding(finding) => findings.push(finding),
        }
        Ok(())
    };
    let (content, writes) = (rig.disk.content(), rig.disk.writes);
    let end = survey(&rig.disk, rig.log.config(), (*start, table), &mut visit).unwrap();
    assert!(rig.disk.content() == content && rig.disk.writes == writes);
    assert!(lsns.is_sorted_by(|a, b| a < b), "in the order of the log");
    let is_damaged = |lsn: Lsn| {
        let mut ranges = findings.iter().map(|finding| finding.lsns);
        ranges.any(|(first, end)| first <= lsn && lsn < end)
    };
    let first = rig.disk.segments.keys().next().map_or(0, |(_, first)| {
        let entries = table.segments.iter();
        let mut of_it = entries.filter(|entry| entry.number.0 == *first);
        of_it.next().map_or(0, |entry| entry.base.0)
    });
    for lsn in (first..end.0).map(Lsn) {
        let is_handed_out = lsns.binary_search(&lsn).is_ok();
        assert_ne!(is_handed_out, is_damaged(lsn), "record {lsn}: {findings:?}");
    }
    Met {
        end,
        lsns,
        findings,
    }
}

/// Where the written part of a segment ends.
fn used(rig: &Rig, segment: u32) -> usize {
    let bytes = &rig.disk.segments[&(PARTITION, segment)].now;
    bytes.iter().rposition(|byte| *byte != 0).unwrap()
}

fn write(rig: &mut Rig, segment: u32, made: &Rebuilt) {
    for (position, bytes) in made {
        let at = usize::try_from(*position).unwrap();
        let into = |file: &mut Vec<u8>| file[at..at + bytes.len()].copy_from_slice(bytes);
        rig.disk.tamper(segment, into);
    }
}

fn flip(rig: &mut Rig, segment: u32, at: usize) {
    rig.disk.tamper(segment, |bytes| bytes[at] ^= 0x10);
}

#[test]
fn a_whole_log_is_handed_out_without_a_finding() {
    let mut rig = filled();
    rig.idle();
    let met = met(&rig);
    assert_eq!(met.end, rig.log.end());
    assert_eq!(met.lsns.len() as u64, met.end.0);
    assert!(met.findings.is_empty(), "{:?}", met.findings);
}

/// With and without a checkpoint that closes the front of the log.
#[test]
fn a_flip_anywhere_is_named_and_costs_the_records_of_its_block() {
    for checkpointed in [false, true] {
        let mut rig = filled();
        rig.idle();
        if checkpointed {
            rig.checkpoint(Lsn(25));
        }
        let all = rig.log.end();
        let (last_segment, _, last_end) = last_block(&rig);
        for segment in 0..=last_segment {
            let to = if segment == last_segment {
                last_end
            } else {
                used(&rig, segment)
            };
            for at in (0..to).step_by(211) {
                flip(&mut rig, segment, at);
                let met = met(&rig);
                assert_eq!(met.end, all, "segment {segment} byte {at}");
                let [found] = &met.findings[..] else {
                    panic!("segment {segment} byte {at}: {:?}", met.findings)
                };
                let covers = (found.site.position..found.end).contains(&(at as u64));
                assert!(found.fault.is_damage() && covers, "{found:?}");
                assert_eq!(found.site.segment.0, segment);
                let lost = all.0 - met.lsns.len() as u64;
                assert!(lost <= 1, "{lost} records: each block holds one");
                flip(&mut rig, segment, at);
            }
        }
    }
}

#[test]
fn several_damages_in_one_segment_are_told_apart() {
    let mut rig = filled();
    rig.idle();
    // Blocks of one page, the first of them the first of the segment.
    let pages: Vec<usize> = (SEGMENT_HEADER_BYTES..used(&rig, 1))
        .step_by(BLOCK_ALIGN)
        .filter(|at| {
            let bytes = &rig.disk.segments[&(PARTITION, 1)].now[*at..];
            crate::block::BlockHeader::decode(bytes).is_ok()
        })
        .collect();
    let footer = *pages.last().unwrap();
    assert!(pages.len() > 4);
    for at in [pages[0], pages[2], footer] {
        flip(&mut rig, 1, at + 30);
    }
    flip(&mut rig, 1, 50);
    let met = met(&rig);
    let faults: Vec<_> = met.findings.iter().map(|found| &found.fault).collect();
    assert!(
        matches!(
            faults[..],
            [
                LogFault::HeaderCopy,
                LogFault::Blocks(_),
                LogFault::Blocks(_),
                LogFault::Footer(_)
            ]
        ),
        "{faults:?}"
    );
    assert_eq!(met.end, rig.log.end());
}

#[test]
fn both_headers_lost_cost_no_record() {
    let mut rig = filled();
    rig.idle();
    for at in [9, BLOCK_ALIGN + 9] {
        flip(&mut rig, 2, at);
    }
    let met = met(&rig);
    assert!(matches!(
        met.findings[..],
        [Finding {
            fault: LogFault::Headers,
            ..
        }]
    ));
    assert_eq!(met.lsns.len() as u64, rig.log.end().0);
}

#[test]
fn missing_segments_are_named_with_their_records() {
    let mut rig = filled();
    rig.idle();
    let bases = rig.rolled.clone();
    for segment in [1, 2] {
        rig.disk.segments.remove(&(PARTITION, segment));
    }
    let met = met(&rig);
    let [found] = &met.findings[..] else {
        panic!("{:?}", met.findings)
    };
    assert!(matches!(found.fault, LogFault::Missing(last) if last.0 == 2));
    assert_eq!(found.site.segment.0, 1);
    assert_eq!(found.lsns, (bases[1], bases[3]));
    assert_eq!(met.end, rig.log.end());
}

/// The same look-ahead decides: what recovery cuts is torn here, and what it refuses is not.
#[test]
fn a_torn_end_is_told_from_rot_as_recovery_tells_it() {
    let mut rig = filled();
    let (segment, start, end) = last_block(&rig);
    let last = rig.log.end().0 - 1;
    // Nothing attests the last block yet.
    flip(&mut rig, segment, start + 200);
    let torn = met(&rig);
    assert!(matches!(
        torn.findings[..],
        [Finding {
            fault: LogFault::Torn(TornBy::Garbage),
            ..
        }]
    ));
    assert_eq!((torn.end, torn.lsns.len() as u64), (Lsn(last), last));
    let found = &torn.findings[0];
    assert_eq!(found.site.segment.0, segment);
    assert_eq!(
        (found.site.position, found.end),
        (start as u64, end as u64),
        "all that a start cuts"
    );
    let mut recovered = rig.fork();
    assert_eq!(recovered.restart().unwrap().end, Lsn(last));

    // A SEAL attests it.
    flip(&mut rig, segment, start + 200);
    rig.idle();
    flip(&mut rig, segment, start + 200);
    let rot = met(&rig);
    assert!(matches!(
        rot.findings[..],
        [Finding {
            fault: LogFault::Blocks(_),
            ..
        }]
    ));
    assert_eq!(rot.findings[0].lsns, (Lsn(last), Lsn(last + 1)));
    assert!(rig.restart().is_err());
}

/// With and without a checkpoint whose table names the footers.
#[test]
fn headers_and_footers_are_made_anew_byte_for_byte() {
    for checkpointed in [false, true] {
        let mut rig = filled();
        rig.idle();
        if checkpointed {
            rig.checkpoint(Lsn(25));
        }
        let (last_segment, _, _) = last_block(&rig);
        for segment in 0..=last_segment {
            let page = used(&rig, segment) / BLOCK_ALIGN * BLOCK_ALIGN;
            let headers = [9, BLOCK_ALIGN + 9];
            let mut damages = vec![vec![9], vec![BLOCK_ALIGN + 9], headers.to_vec()];
            if segment < last_segment {
                damages.extend([vec![page + 9], vec![page + 130]]);
            }
            for flips in damages {
                let good = rig.disk.content();
                for at in &flips {
                    flip(&mut rig, segment, *at);
                }
                let met = met(&rig);
                let [found] = &met.findings[..] else {
                    panic!("{:?}", met.findings)
                };
                let table = &rig.checkpoint.1;
                let made = rebuild(&rig.disk, rig.log.config(), table, found).unwrap();
                write(&mut rig, segment, &made.unwrap());
                assert!(rig.disk.content() == good, "segment {segment} {flips:?}");
            }
        }
    }
}

#[test]
fn nothing_is_made_that_no_checksum_confirms() {
    let mut rig = filled();
    rig.idle();
    let page = used(&rig, 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    // A footer that only the header behind it names, which is gone too.
    for (segment, at) in [(1, page + 9), (2, 9), (2, BLOCK_ALIGN + 9)] {
        flip(&mut rig, segment, at);
    }
    let met = met(&rig);
    for found in &met.findings {
        let made = rebuild(&rig.disk, rig.log.config(), &rig.checkpoint.1, found).unwrap();
        assert_eq!(made, None, "{found:?}");
    }
    assert_eq!(met.findings.len(), 2);
}
