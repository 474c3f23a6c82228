use std::time::Duration;

use corelane::config::Settings;
use corelane::driver::uring::Refusal;
use corelane::serve::files_needed;

use super::disk::{Latencies, file_system_of};
use super::machine::quota;
use super::permits::may_lock;
use super::*;

fn config(flags: &[(&str, &str)]) -> Config {
    let settings = Settings::default();
    let settings = flags.iter().fold(settings, |settings, (key, value)| {
        settings.flag(key, Some((*value).to_owned()))
    });
    Config::resolve(&settings, 2).unwrap()
}

/// The result; a finding that is fine has no command, any other has one.
fn judged(finding: &Finding) -> Verdict {
    assert_eq!(
        finding.command.is_empty(),
        finding.result == Verdict::Ok,
        "{finding:?}"
    );
    assert!(!finding.found.is_empty(), "{finding:?}");
    finding.result
}

#[test]
fn old_kernel_matters_where_uring_is_asked_for() {
    let on = |release: &str, driver| {
        let release = release.to_owned();
        judged(&Kernel { release }.judge(driver))
    };
    for release in ["6.6.0", "6.18.44-fc-v669", "7.0-rc1", "10.0"] {
        assert_eq!(on(release, DriverChoice::Uring), Verdict::Ok, "{release}");
    }
    for release in ["6.5.13", "5.10.0-20-amd64", "4.19"] {
        assert_eq!(on(release, DriverChoice::Uring), Verdict::Fail);
        assert_eq!(on(release, DriverChoice::Auto), Verdict::Warn);
        assert_eq!(on(release, DriverChoice::Epoll), Verdict::Ok);
    }
    assert_eq!(on("", DriverChoice::Auto), Verdict::Warn);
}

#[test]
fn refused_io_uring_is_told_with_cause_and_remedy() {
    let refused = IoUring {
        works: Err(Refusal {
            cause: "it is switched off".to_owned(),
            remedy: "switch it on".to_owned(),
        }),
    };
    let finding = refused.judge(DriverChoice::Uring);
    assert_eq!(judged(&finding), Verdict::Fail);
    assert_eq!(finding.found, "it is switched off");
    assert_eq!(finding.command, "switch it on");
    assert_eq!(judged(&refused.judge(DriverChoice::Auto)), Verdict::Warn);
    assert_eq!(judged(&refused.judge(DriverChoice::Epoll)), Verdict::Ok);
    let works = IoUring { works: Ok(()) };
    assert_eq!(judged(&works.judge(DriverChoice::Uring)), Verdict::Ok);
}

#[test]
fn locked_memory_is_counted_per_shard_and_not_for_root() {
    let with = |bytes, is_exempt| {
        let memlock = Memlock { bytes, is_exempt };
        memlock.judge(DriverChoice::Uring, 4)
    };
    assert_eq!(judged(&with(Some(512 << 10), false)), Verdict::Ok);
    assert_eq!(judged(&with(None, false)), Verdict::Ok);
    assert_eq!(judged(&with(Some(0), true)), Verdict::Ok);
    let finding = with(Some(64 << 10), false);
    assert_eq!(judged(&finding), Verdict::Fail);
    assert_eq!(
        (finding.found.as_str(), finding.wanted.as_str()),
        ("64KiB", "512KiB")
    );
    assert!(finding.command.starts_with("ulimit -l 512,"));
    let with = |bytes, is_exempt| {
        let memlock = Memlock { bytes, is_exempt };
        judged(&memlock.judge(DriverChoice::Glommio, 4))
    };
    assert_eq!(with(Some(2 << 20), false), Verdict::Ok);
    assert_eq!(with(Some((2 << 20) - 1), false), Verdict::Fail);
    assert_eq!(with(Some(512 << 10), true), Verdict::Ok);
    assert_eq!(with(Some(511 << 10), true), Verdict::Fail);
    assert!(may_lock("Name:\tx\nCapEff:\t000001ffffffffff\n"));
    assert!(!may_lock("Name:\tx\nCapEff:\t0000000000000000\n"));
    assert!(!may_lock(""));
}

#[test]
fn open_files_below_the_least_fail_and_below_the_most_warn() {
    let config = config(&[("cores", "2"), ("connections_max", "1000")]);
    let needed = files_needed(&config, 8);
    assert_eq!((needed.least, needed.most), (264, 2_232));
    let with = |limit| judged(&OpenFiles { limit }.judge(needed));
    assert_eq!(with(Some(263)), Verdict::Fail);
    assert_eq!(with(Some(264)), Verdict::Warn);
    assert_eq!(with(Some(2_231)), Verdict::Warn);
    assert_eq!(with(Some(2_232)), Verdict::Ok);
    assert_eq!(with(None), Verdict::Ok);
}

#[test]
fn data_belongs_on_a_local_disk_that_takes_direct_writes() {
    let on = |file_system: &str, is_direct: Result<bool, &str>| DirectWrites {
        file_system: file_system.to_owned(),
        is_direct: is_direct.map_err(str::to_owned),
        folder: "/data".to_owned(),
    };
    assert_eq!(judged(&on("ext4", Ok(true)).judge(false)), Verdict::Ok);
    assert_eq!(judged(&on("zfs", Ok(false)).judge(false)), Verdict::Warn);
    assert_eq!(judged(&on("tmpfs", Ok(true)).judge(false)), Verdict::Warn);
    assert_eq!(judged(&on("nfs4", Ok(true)).judge(false)), Verdict::Fail);
    assert_eq!(judged(&on("nfs4", Ok(true)).judge(true)), Verdict::Warn);
    let finding = on("ext4", Err("Permission denied")).judge(false);
    assert_eq!(judged(&finding), Verdict::Fail);
    assert_eq!(finding.found, "cannot write in /data: Permission denied");
    assert_eq!(finding.command, "ls -ld /data");
}

#[test]
fn file_system_is_that_of_the_longest_mount_point() {
    let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/a rw
23 22 0:5 / /srv rw - tmpfs none rw
24 22 8:2 / /srv/my\\040data rw,noatime shared:2 master:3 - xfs /dev/b rw
25 23 8:3 / /srv rw - btrfs /dev/c rw
";
    let of = |path| file_system_of(mounts, Path::new(path));
    assert_eq!(of("/home"), Some("ext4"));
    assert_eq!(of("/srvx"), Some("ext4"));
    assert_eq!(of("/srv/other"), Some("btrfs"));
    assert_eq!(of("/srv/my data/deep"), Some("xfs"));
    assert_eq!(file_system_of("", Path::new("/")), None);
}

#[test]
fn commits_are_judged_by_both_percentiles() {
    let with = |p50, p99| {
        let latencies = Latencies {
            count: 100,
            p50: Duration::from_micros(p50),
            p99: Duration::from_micros(p99),
            is_direct: true,
        };
        let measured = Ok(latencies);
        judged(&CommitLatency { measured }.judge(Path::new("/data")))
    };
    assert_eq!(with(300, 1_200), Verdict::Ok);
    assert_eq!(with(2_000, 20_000), Verdict::Ok);
    assert_eq!(with(2_001, 20_000), Verdict::Warn);
    assert_eq!(with(300, 20_001), Verdict::Warn);
    // Nothing reached a disk.
    assert_eq!(with(2, 5), Verdict::Warn);
    let measured = Err("No space left on device".to_owned());
    let finding = CommitLatency { measured }.judge(Path::new("/data"));
    assert_eq!(judged(&finding), Verdict::Fail);
}

#[test]
fn percentiles_are_durations_that_occurred() {
    let taken = (1..=200).rev().map(Duration::from_micros).collect();
    let latencies = Latencies::of(taken, false);
    assert_eq!(latencies.count, 200);
    assert_eq!(latencies.p50, Duration::from_micros(100));
    assert_eq!(latencies.p99, Duration::from_micros(198));
}

#[test]
fn free_space_covers_what_a_start_writes() {
    let with = |free: u64| {
        let bytes = Ok((free, 100 << 30));
        FreeSpace { bytes }.judge(2, Path::new("/data"))
    };
    assert_eq!(judged(&with((80 << 20) - 1)), Verdict::Fail);
    assert_eq!(judged(&with(80 << 20)), Verdict::Warn);
    assert_eq!(judged(&with(1 << 30)), Verdict::Ok);
    assert_eq!(with((40 << 30) + 17).found, "40GiB of 100GiB");
    assert_eq!(with((9 << 30) + (17 << 20)).found, "9233MiB of 100GiB");
    let unsized_one = FreeSpace { bytes: Ok((0, 0)) };
    assert_eq!(
        judged(&unsized_one.judge(2, Path::new("/data"))),
        Verdict::Ok
    );
}

#[test]
fn slow_clock_and_sleepy_governor_warn() {
    let clock = |name: &str, nanoseconds| {
        let clock = ClockSource {
            name: name.to_owned(),
            reading: Duration::from_nanos(nanoseconds),
        };
        judged(&clock.judge())
    };
    assert_eq!(clock("tsc", 25), Verdict::Ok);
    assert_eq!(clock("hpet", 900), Verdict::Warn);
    assert_eq!(clock("", 30), Verdict::Ok);
    let governor = |names: &[&str]| {
        let governors = names.iter().map(|name| (*name).to_owned()).collect();
        judged(&Governor { governors }.judge())
    };
    assert_eq!(governor(&[]), Verdict::Ok);
    assert_eq!(governor(&["performance"]), Verdict::Ok);
    assert_eq!(governor(&["powersave"]), Verdict::Warn);
    assert_eq!(governor(&["performance", "schedutil"]), Verdict::Warn);
}

#[test]
fn shards_beyond_cores_or_quota_warn_with_the_number_that_fits() {
    let with = |usable, quota, shards| Cores { usable, quota }.judge(shards);
    assert_eq!(judged(&with(4, None, 4)), Verdict::Ok);
    assert_eq!(judged(&with(4, Some(4_000), 4)), Verdict::Ok);
    let finding = with(4, Some(2_500), 4);
    assert_eq!(judged(&finding), Verdict::Warn);
    assert_eq!(finding.found, "4, quota of 2.500");
    assert_eq!(finding.command, "--cores 2");
    assert_eq!(with(2, None, 8).command, "--cores 2");
    // Less than a core is too little for one shard, too.
    assert_eq!(judged(&with(2, Some(500), 1)), Verdict::Warn);
    assert_eq!(quota("150000 100000\n"), Some(1_500));
    assert_eq!(quota("max 100000\n"), None);
}

#[test]
fn missing_data_directory_is_judged_by_the_nearest_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/there/yet");
    assert_eq!(existing(&path), folder.path());
    assert_eq!(existing(folder.path()), folder.path());
    let needs = Needs::of(config(&[
        ("data_dir", path.to_str().unwrap()),
        ("cores", "3"),
    ]));
    assert_eq!(needs.partitions, 12);
}

#[test]
fn measured_commits_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for is_direct in [false, DirectWrites::look(folder.path()).is_taken()] {
        let latencies = CommitLatency::measure(folder.path(), is_direct);
        let latencies = latencies.measured.unwrap();
        assert!(latencies.count >= 100, "{latencies:?}");
        assert!(latencies.p50 <= latencies.p99, "{latencies:?}");
        assert!(latencies.p50 > Duration::ZERO, "{latencies:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
