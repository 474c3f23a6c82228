use super::*;

const NAME: FileName = FileName::Spare(1);

/// A disk with one file of two sectors; `faults` are parts per million of lost and torn sectors.
fn disk(lost: u32, torn: u32) -> Disk {
    let faults = DiskFaults {
        sector_lost: Ppm(lost),
        sector_torn: Ppm(torn),
        ..DiskFaults::default()
    };
    let mut disk = Disk::new(1, faults);
    disk.create_zeroed(NAME, 2 * SECTOR_BYTES as u64);
    disk
}

fn write_and_sync(disk: &mut Disk, byte: u8) {
    disk.write(&NAME, 0, &[byte; SECTOR_BYTES]);
    let stamp = disk.stamp();
    disk.sync(&NAME, stamp);
}

fn sector(disk: &Disk) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    assert_eq!(disk.read(&NAME, 0, &mut bytes), SECTOR_BYTES);
    bytes
}

#[test]
fn what_is_synced_survives_a_power_loss() {
    let mut disk = disk(1_000_000, 0);
    write_and_sync(&mut disk, 7);
    disk.stop(Stop::PowerLoss);
    assert_eq!(sector(&disk), [7; SECTOR_BYTES]);
}

#[test]
fn what_is_not_synced_may_be_lost_by_a_power_loss_but_not_by_a_kill() {
    for (stop, kept) in [(Stop::Kill, 9), (Stop::PowerLoss, 7)] {
        let mut disk = disk(1_000_000, 0);
        write_and_sync(&mut disk, 7);
        disk.write(&NAME, 0, &[9; SECTOR_BYTES]);
        disk.stop(stop);
        assert_eq!(sector(&disk), [kept; SECTOR_BYTES], "{stop:?}");
    }
}

#[test]
fn a_sync_covers_only_what_was_written_before_it_began() {
    let mut disk = disk(1_000_000, 0);
    disk.write(&NAME, 0, &[7; SECTOR_BYTES]);
    let stamp = disk.stamp();
    disk.write(&NAME, 0, &[9; SECTOR_BYTES]);
    disk.sync(&NAME, stamp);
    disk.stop(Stop::PowerLoss);
    assert_eq!(sector(&disk), [7; SECTOR_BYTES]);
}

#[test]
fn a_later_sync_does_not_make_up_for_one_that_failed() {
    let mut disk = disk(1_000_000, 0);
    write_and_sync(&mut disk, 7);
    disk.write(&NAME, 0, &[9; SECTOR_BYTES]);
    let stamp = disk.stamp();
    disk.fail_sync(&NAME, stamp);
    disk.sync(&NAME, stamp);
    assert_eq!(sector(&disk), [9; SECTOR_BYTES], "the page cache has it");
    disk.stop(Stop::PowerLoss);
    assert_eq!(sector(&disk), [7; SECTOR_BYTES]);
}

#[test]
fn a_torn_sector_is_made_of_whole_atoms_of_its_versions() {
    let mut disk = disk(0, 1_000_000);
    write_and_sync(&mut disk, 7);
    disk.write(&NAME, 0, &[9; SECTOR_BYTES]);
    disk.stop(Stop::PowerLoss);
    assert_eq!(disk.met.sectors_torn, 1);
    for atom in sector(&disk).chunks(ATOM_BYTES) {
        assert!(atom == [7; ATOM_BYTES] || atom == [9; ATOM_BYTES]);
    }
}

#[test]
fn the_power_goes_in_the_operation_that_the_fuse_names() {
    let mut disk = disk(0, 0);
    disk.set_fuse(Some(2));
    assert!(!disk.burn() && !disk.is_dead());
    assert!(disk.burn() && disk.is_dead());
    disk.stop(Stop::PowerLoss);
    assert!(!disk.is_dead());
}

#[test]
fn a_chosen_loss_keeps_the_pieces_that_it_is_told_to() {
    let mut disk = disk(0, 0);
    write_and_sync(&mut disk, 7);
    disk.write(&NAME, 0, &[8; SECTOR_BYTES]);
    disk.write(&NAME, 0, &[9; SECTOR_BYTES]);
    let writes = disk.unsynced();
    let spans: Vec<(u64, u64)> = writes.iter().map(|it| (it.position, it.end)).collect();
    assert_eq!(spans, [(0, 4096), (0, 4096)]);
    let (older, newer) = (writes[0].stamp, writes[1].stamp);
    disk.lose(|stamp, at| stamp == newer && at < 512 || stamp == older && at < 1_024);
    let found = sector(&disk);
    assert_eq!(found[..512], [9; 512]);
    assert_eq!(found[512..1_024], [8; 512]);
    assert_eq!(found[1_024..], [7; SECTOR_BYTES - 1_024]);
    assert_eq!(disk.unsynced(), []);
}

#[test]
fn the_tape_has_the_disk_before_every_change() {
    let mut disk = disk(0, 0);
    disk.record();
    write_and_sync(&mut disk, 7);
    disk.replace(&FileName::Named("superblock".to_owned()), &[1]);
    let tape = disk.take_tape();
    let verbs: Vec<&str> = tape.iter().map(|moment| moment.change.verb).collect();
    assert_eq!(verbs, ["write", "sync", "replace"]);
    assert_eq!(sector(&tape[0].disk), [0; SECTOR_BYTES]);
    assert_eq!(tape[1].disk.unsynced().len(), 1);
    assert_eq!(tape[2].disk.unsynced().len(), 0);
    assert_eq!(sector(&tape[2].disk), [7; SECTOR_BYTES]);
}
