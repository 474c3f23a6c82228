use std::fs;
use std::time::Duration;

use super::*;
use crate::clock::cores;

/// Long enough for some commits on any machine; at least one is always made.
const MOMENT: Duration = Duration::from_millis(50);

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (way, depth) in [
        (Way::Linked, 1),
        (Way::Linked, 16),
        (Way::RwfDsync, 4),
        (Way::Blocking, 1),
    ] {
        for place in [Place::PreWritten, Place::Growing] {
            for bytes in [4_096, 65_536] {
                cells.push(Cell {
                    way,
                    place,
                    bytes,
                    depth,
                });
            }
        }
    }
    cells
}

#[test]
fn every_way_leaves_its_bytes_in_the_file_and_only_growing_files_grow() {
    let folder = tempfile::tempdir().unwrap();
    let probe = DiskProbe::new(folder.path()).unwrap();
    let pre_written = folder.path().join("floor-pre-written.probe");
    let growing = folder.path().join("floor-growing.probe");
    let length = fs::metadata(&pre_written).unwrap().len();
    for cell in cells() {
        let latencies = match probe.run(cell, MOMENT) {
            Ok(latencies) => latencies,
            // (P4): a machine may not let us use io_uring.
            Err(error) if cell.way != Way::Blocking && is_refused(&error) => continue,
            Err(error) => panic!("{cell:?}: {error}"),
        };
        assert!(latencies.count() >= u64::from(cell.depth), "{cell:?}");
        let written = match cell.place {
            Place::PreWritten => {
                assert_eq!(fs::metadata(&pre_written).unwrap().len(), length);
                fs::read(&pre_written).unwrap()[..cell.bytes as usize].to_vec()
            }
            Place::Growing => {
                let bytes = fs::read(&growing).unwrap();
                let expected = latencies.count() * u64::from(cell.bytes);
                assert_eq!(bytes.len() as u64, expected, "{cell:?}");
                bytes
            }
        };
        assert!(written.iter().all(|&byte| byte == 0x5A), "{cell:?}");
    }
    drop(probe);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn is_refused(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::ENOSYS | libc::ENOMEM)
    )
}

#[test]
fn a_cell_outside_its_bounds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let probe = DiskProbe::new(folder.path()).unwrap();
    let cell = |way, bytes, depth| Cell {
        way,
        place: Place::PreWritten,
        bytes,
        depth,
    };
    for wrong in [
        cell(Way::Linked, 0, 1),
        cell(Way::Linked, 1_000, 1),
        cell(Way::Linked, 2 << 20, 1),
        cell(Way::Linked, 4_096, 17),
        cell(Way::Blocking, 4_096, 2),
    ] {
        let error = probe.run(wrong, MOMENT).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{wrong:?}");
    }
}

#[test]
fn a_write_that_fails_is_an_error_and_no_sample() {
    let file = fs::File::options().write(true).open("/dev/full").unwrap();
    let buffer = (vec![1; 4_096], 0, 4_096);
    let Ok(mut ring) = uring::CommitRing::new(file, uring::Submission::Linked, buffer, 4) else {
        return;
    };
    for number in 0..4 {
        ring.push(number, 0).unwrap();
    }
    let error = ring.wait().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    // What is still in flight is waited for.
    drop(ring);
}

#[test]
fn commits_at_a_rate_are_all_made_each_way() {
    let folder = tempfile::tempdir().unwrap();
    let probe = DiskProbe::new(folder.path()).unwrap();
    for way in [Way::Linked, Way::RwfDsync, Way::Blocking] {
        match probe.run_at(way, 20, 2_000) {
            Ok(latencies) => assert_eq!(latencies.count(), 20, "{way:?}"),
            Err(error) if way != Way::Blocking && is_refused(&error) => {}
            Err(error) => panic!("{way:?}: {error}"),
        }
    }
    let written = fs::read(folder.path().join("floor-pre-written.probe")).unwrap();
    let (blocks, rest) = written.split_at(20 * 4_096);
    assert!(blocks.iter().all(|&byte| byte == 0x5A));
    assert!(rest.iter().all(|&byte| byte == 0));
}

#[test]
fn an_echo_on_a_core_that_is_not_there_is_refused() {
    assert!(EchoProbe::new(64, Some(usize::MAX)).is_err());
}

#[test]
fn a_hop_between_two_cores_is_counted() {
    let cores = cores().unwrap();
    assert!(hop(cores[0], cores[0], 1).is_err());
    if let [first, second, ..] = cores[..] {
        assert_eq!(hop(first, second, 100).unwrap().count(), 100);
    }
}

#[test]
fn sleepers_and_clocks_are_measured() {
    let late = timer_lateness(Duration::from_micros(100), 20);
    assert_eq!(late.count(), 20);
    assert!(clock_read() < Duration::from_millis(1));
}

#[test]
fn an_echo_one_after_the_other_is_measured() {
    let mut echo = EchoProbe::new(64, None).unwrap();
    assert!(echo.run_for(Duration::from_millis(20)).unwrap().count() > 0);
    assert_eq!(echo.run(5, 1_000).unwrap().count(), 5);
}
