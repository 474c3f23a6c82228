//! The choice of the driver, where `io_uring` is refused and where a broker was killed.

use std::time::Instant;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::broker::{Broker, PATIENCE, folder, refused, serve_at, serve_over};

/// Runs something in a thread, and with its children, that may not make an `io_uring`: what a
/// container's default profile does.
fn without_uring<T: Send>(errno: i32, run: impl FnOnce() -> T + Send) -> T {
    let filter = SeccompFilter::new(
        [(libc::SYS_io_uring_setup, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    std::thread::scope(|scope| {
        let limited = scope.spawn(|| {
            apply_filter(&program).unwrap();
            run()
        });
        limited.join().unwrap()
    })
}

/// The drivers that this machine and this build have, the best that `auto` may choose last.
fn drivers() -> Vec<&'static str> {
    let folder = folder();
    match corelane::driver::uring::check(folder.path()) {
        Ok(()) if cfg!(feature = "glommio") => vec!["glommio", "epoll", "uring"],
        Ok(()) => vec!["epoll", "uring"],
        Err(refusal) => {
            eprintln!("only epoll: {refusal}");
            vec!["epoll"]
        }
    }
}

#[cfg(not(feature = "glommio"))]
#[test]
fn glommio_in_a_build_without_it_stops_a_start() {
    let folder = folder();
    let (code, said) = refused(&mut serve_over("glommio", folder.path()));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("built without the glommio driver"), "{said}");
    assert!(said.contains("setting: driver (from --driver)"), "{said}");
    assert!(said.contains("--features glommio"), "{said}");
}

#[test]
fn uring_that_is_refused_stops_a_start_that_asks_for_it_by_name() {
    for (errno, cause) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "no io_uring")] {
        let folder = folder();
        let mut command = serve_over("uring", folder.path());
        let begun = Instant::now();
        let (code, said) = without_uring(errno, || refused(&mut command));
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(cause), "{said}");
        assert!(said.contains("setting: driver (from --driver)"), "{said}");
        assert!(said.contains("io_uring_setup"), "{said}");
        assert!(said.contains("driver = epoll"), "{said}");
    }
}

#[test]
fn uring_that_is_refused_is_replaced_by_epoll_with_one_line() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let folder = folder();
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = serve_over("auto", folder.path());
        let broker = without_uring(errno, || {
            Broker::spawn_logging_to(folder.path(), &mut command, file.into())
        });
        assert!(
            broker.ready.contains("ok  epoll driver, "),
            "{}",
            broker.ready
        );
        broker.ok(&["enqueue", "q", "kept"]);
        assert_eq!(broker.ok(&["dequeue", "q"]), "kept\n");
        assert!(broker.stop().success());
        let log = std::fs::read_to_string(&log).unwrap();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{log}");
        assert!(
            warnings[0].contains("io_uring cannot be used here"),
            "{log}"
        );
        assert!(warnings[0].contains("seccomp"), "{log}");
        assert!(warnings[0].contains("driver = epoll"), "{log}");
    }
}

#[test]
fn start_names_its_driver() {
    let best = drivers().pop().unwrap();
    let chosen = drivers().into_iter().map(|driver| (driver, driver));
    for (asked, expected) in chosen.chain([("auto", best)]) {
        let folder = folder();
        let broker = Broker::spawn(folder.path(), &mut serve_over(asked, folder.path()));
        let line = match expected {
            "glommio" => "ok  experimental glommio driver, ".to_owned(),
            expected => format!("ok  {expected} driver, "),
        };
        assert!(broker.ready.contains(&line), "{}", broker.ready);
    }
}

#[test]
fn killed_broker_is_started_again_on_its_ports_at_once() {
    const ROUNDS: usize = 8;
    for driver in drivers() {
        let folder = folder();
        let mut command = serve_over(driver, folder.path());
        let mut broker = Broker::spawn(folder.path(), command.args(["--cores", "1"]));
        let ports = broker.ports.clone();
        let shared = broker.data();
        let own = ports["shards"][0].as_str().unwrap();
        let (_, own) = own.rsplit_once(':').unwrap();
        for _ in 0..ROUNDS {
            broker.ok(&["enqueue", "q", "kept"]);
            // A connection that is open when the broker dies.
            let silent = std::net::TcpStream::connect(&shared).unwrap();
            broker.kill();
            let mut command = serve_at(&shared, folder.path());
            command.args(["--driver", driver, "--cores", "1", "--shard-port", own]);
            broker = Broker::spawn(folder.path(), &mut command);
            assert_eq!(broker.data(), shared);
            assert_eq!(broker.ports["shards"], ports["shards"]);
            drop(silent);
        }
        let taken = broker.ok(&["dequeue", "q", "-n", &ROUNDS.to_string()]);
        assert_eq!(taken, "kept\n".repeat(ROUNDS));
        assert!(broker.stop().success());
    }
}

#[test]
fn commits_of_every_kind_survive_a_kill() {
    for driver in drivers() {
        for mode in ["fdatasync", "linked", "rwf-dsync"] {
            let folder = folder();
            let serve = || {
                let mut command = serve_over(driver, folder.path());
                command.args(["--commit-mode", mode]);
                command
            };
            let broker = Broker::spawn(folder.path(), &mut serve());
            broker.ok(&["enqueue", "q", mode]);
            broker.kill();
            let broker = Broker::spawn(folder.path(), &mut serve());
            assert_eq!(broker.ok(&["dequeue", "q"]), format!("{mode}\n"));
        }
    }
}
