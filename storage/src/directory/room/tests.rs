use super::*;

#[test]
fn a_full_disk_costs_one_spare_and_no_more() {
    let root = tempfile::tempdir().unwrap();
    let spares = root.path().join("spares");
    fs::create_dir(&spares).unwrap();
    for name in ["0000.spare", "0003.spare", "0004.spare.tmp"] {
        fs::write(spares.join(name), "x").unwrap();
    }
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    let newest = spares.join("0003.spare");
    let attempt = || {
        if newest.exists() { Err(full()) } else { Ok(7) }
    };
    assert_eq!(with_room(root.path(), attempt).unwrap(), 7);
    assert!(spares.join("0000.spare").exists());
    let error = with_room(root.path(), || Err::<(), _>(full())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = with_room(root.path(), || Err::<(), _>(full())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(spares.join("0004.spare.tmp").exists());
}

#[test]
fn another_failure_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let spare = root.path().join("spares").join("0000.spare");
    fs::create_dir(root.path().join("spares")).unwrap();
    fs::write(&spare, "x").unwrap();
    let failed = || Err::<(), _>(io::Error::from_raw_os_error(libc::EIO));
    with_room(root.path(), failed).unwrap_err();
    assert!(spare.exists());
}
