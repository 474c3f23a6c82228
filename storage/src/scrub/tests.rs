use std::collections::BTreeSet;

use super::*;
use crate::memory::PARTITION;
use crate::rig::Rig;

/// A log of some closed segments with blocks of one page and of two.
fn closed() -> Rig {
    let mut rig = Rig::new();
    for at in 0..120 {
        rig.commit([90, 3_000, 300, 5_000][at % 4]);
    }
    assert!(rig.log.sealed().count() > 3);
    rig
}

fn scrub(rig: &Rig, bytes_max: usize) -> Scrubbed {
    let mut all = Scrubbed::default();
    let mut before = None;
    while let Some(segment) = rig.log.scrub_after(before) {
        before = Some(segment.segment());
        scrub_one(rig, segment, bytes_max, &mut all);
    }
    all
}

fn scrub_one(rig: &Rig, mut segment: SegmentScrub, bytes_max: usize, all: &mut Scrubbed) {
    while !segment.is_done() {
        let scrubbed = segment.advance(&rig.disk, bytes_max).unwrap();
        all.bytes += scrubbed.bytes;
        all.found.extend(scrubbed.found);
    }
}

/// Where headers, blocks and footers of the closed segments stand.
fn places(rig: &Rig) -> Vec<(u32, u64, u64)> {
    let mut places = Vec::new();
    for segment in rig.log.sealed() {
        let file = &rig.disk.segments[&(PARTITION, segment.number.0)].now;
        places.extend([
            (segment.number.0, 0, 4_096),
            (segment.number.0, 4_096, 4_096),
        ]);
        let mut at = 8_192;
        while let Ok((header, _)) = BlockHeader::decode(&file[at..]) {
            places.push((segment.number.0, at as u64, header.block_bytes() as u64));
            at += header.block_bytes();
            if header.kind == BlockKind::Footer {
                break;
            }
        }
    }
    places
}

#[test]
fn what_is_intact_is_read_once_and_raises_no_alarm() {
    let rig = closed();
    let bytes: u64 = places(&rig).iter().map(|(_, _, bytes)| bytes).sum();
    for bytes_max in [1, 4_096, 10_000, 1 << 20] {
        let scrubbed = scrub(&rig, bytes_max);
        assert_eq!(scrubbed.bytes, bytes);
        assert!(scrubbed.found.is_empty(), "{:?}", scrubbed.found);
    }
}

#[test]
fn any_flipped_bit_is_found_at_its_place_and_no_other_is() {
    let mut rig = closed();
    let all = places(&rig);
    let first = all.iter().filter(|(segment, ..)| *segment == all[0].0);
    for &(segment, position, bytes) in first {
        // Every byte of what precedes the records, and some of these and of the padding.
        for at in (0..128).chain((128..bytes).step_by(397)).chain([bytes - 1]) {
            let byte = usize::try_from(position + at).unwrap();
            rig.disk.tamper(segment, |file| file[byte] ^= 1 << (at % 8));
            let mut scrubbed = Scrubbed::default();
            let first = rig.log.scrub_after(None).unwrap();
            scrub_one(&rig, first, 8_192, &mut scrubbed);
            let found: Vec<_> = (scrubbed.found.iter())
                .map(|it| {
                    (
                        it.site.segment.0,
                        it.site.position,
                        it.end - it.site.position,
                    )
                })
                .collect();
            assert_eq!(found, [(segment, position, bytes)], "byte {byte}");
            rig.disk.tamper(segment, |file| file[byte] ^= 1 << (at % 8));
        }
    }
}

#[test]
fn each_damaged_block_is_told_about_once_even_with_the_footer_gone() {
    let mut rig = closed();
    let all = places(&rig);
    let segment = all[0].0;
    let own: Vec<_> = all.into_iter().filter(|place| place.0 == segment).collect();
    let footer = own.len() - 1;
    // Headers of blocks, so that nobody but the footer knows where the next ones begin.
    for damaged in [
        vec![2],
        vec![2, 4],
        vec![3, footer],
        vec![footer - 1, footer],
        vec![0, 1, 5],
    ] {
        let flip = |rig: &mut Rig| {
            for at in &damaged {
                let byte = usize::try_from(own[*at].1).unwrap();
                rig.disk.tamper(segment, |file| file[byte + 20] ^= 4);
            }
        };
        flip(&mut rig);
        let found = scrub(&rig, 8_192).found;
        let places: BTreeSet<_> = (found.iter())
            .map(|it| (it.site.position, it.end - it.site.position))
            .collect();
        let expected: BTreeSet<_> = damaged.iter().map(|at| (own[*at].1, own[*at].2)).collect();
        assert_eq!(places, expected, "{damaged:?}");
        assert_eq!(found.len(), damaged.len());
        flip(&mut rig);
    }
}

#[test]
fn a_finding_names_the_records_that_are_lost() {
    let mut rig = closed();
    let (segment, position, _) = places(&rig)[3];
    let byte = usize::try_from(position).unwrap() + 200;
    rig.disk.tamper(segment, |file| file[byte] ^= 1);
    let found = scrub(&rig, 1 << 20).found;
    // One record per block: the second block holds the second record.
    assert_eq!(found[0].lsns, (Lsn(1), Lsn(2)));
    let fault = &found[0].fault;
    assert!(
        matches!(fault, LogFault::Blocks(BlockFault::BodyChecksum)),
        "{fault}"
    );
}

#[test]
fn a_file_that_is_gone_is_no_damage_and_one_that_cannot_be_read_is() {
    let mut rig = closed();
    let mut segment = rig.log.scrub_after(None).unwrap();
    let file = rig.disk.segments.remove(&(PARTITION, 0)).unwrap();
    let gone = segment.advance(&rig.disk, 4_096).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    rig.disk.segments.insert((PARTITION, 0), file);
    rig.disk.unreadable = Some(0);
    let found = scrub(&rig, 4_096).found;
    let is_unreadable = |it: &Finding| {
        it.site.segment == SegmentNumber(0) && matches!(it.fault, LogFault::Unreadable(_))
    };
    assert!(
        !found.is_empty() && found.iter().all(is_unreadable),
        "{found:?}"
    );
}

#[test]
fn a_file_that_was_cut_short_is_told_about() {
    let mut rig = closed();
    rig.disk.tamper(0, |file| file.truncate(3 * 4_096));
    let found = scrub(&rig, 1 << 20).found;
    let is_short = |it: &Finding| matches!(it.fault, LogFault::Blocks(BlockFault::Short));
    assert!(found.len() > 1 && found.iter().any(is_short), "{found:?}");
}
