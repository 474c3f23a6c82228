use super::places::Kind;
use super::*;

fn options() -> Options {
    Options {
        flips: 80,
        stride: 997,
        seed: 1,
        jobs: 1,
    }
}

#[test]
fn every_kind_of_place_is_flipped_and_none_does_harm() {
    let report = flip_all(&options());
    assert!(report.is_clean(), "{report:?}");
    for kind in Kind::ALL {
        let row = report.row(kind);
        assert!(row.flips > 0 || kind == Kind::Seal, "{kind:?}: {row:?}");
    }
    // What a checksum covers, and is read, is never harmless.
    let data = report.row(Kind::Data);
    assert_eq!(data.detected, data.flips);
    let superblock = report.row(Kind::Superblock);
    assert_eq!(superblock.detected, superblock.flips);
    // The one documented loss is where it is documented.
    let last = report.row(Kind::LastBlock);
    assert!(last.cut > 0, "{last:?}");
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| *kind != Kind::LastBlock)
    {
        assert_eq!(report.row(kind).cut, 0, "{kind:?}");
    }
}
