//! A process that has no file descriptor left.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

over_every_driver!(accepting_pauses_without_descriptors_and_goes_on);

/// Set in the process that has none left.
const CHILD: &str = "CORELANE_NO_DESCRIPTOR_TEST";

/// In a process of its own, since the limit is that of a process.
fn accepting_pauses_without_descriptors_and_goes_on<D: Tested>() {
    if std::env::var_os(CHILD).is_some() {
        return accept_without_descriptors::<D>();
    }
    let driver = std::any::type_name::<D>().rsplit("::").next().unwrap();
    let module = module_path!().split_once("::").unwrap().1;
    let test = format!(
        "{module}::{}::accepting_pauses_without_descriptors_and_goes_on",
        driver.to_lowercase()
    );
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn accept_without_descriptors<D: Tested>() {
    const CLIENTS: usize = 4;
    let mut bench = Bench::<D>::new();
    // What a driver needs for itself it has from its first wait on.
    bench.turn();
    let (listener, address) = bench.listen();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let limit = getrlimit(Resource::Nofile);
    // What is open stays open, and nothing can be opened.
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    bench.driver.submit(RECV, Op::Accept { listener });
    let stats = bench.driver.stats();
    let pauses = || stats.accept_paused.load(Ordering::Relaxed);
    let begun = Instant::now();
    bench.until(|_| (pauses() >= 3).then_some(()));
    assert!(bench.done.is_empty(), "{:?}", bench.done);
    // It waits in between instead of trying all the time.
    assert!(begun.elapsed() >= Duration::from_millis(150));
    setrlimit(Resource::Nofile, limit).unwrap();
    bench.until(|done| (done.len() == CLIENTS).then_some(()));
    for done in &bench.done {
        assert!(
            matches!(done.data, Data::Socket(_)) && done.more,
            "{done:?}"
        );
    }
    bench.done.clear();
    // An accept that is paused is cancelled like any other.
    setrlimit(Resource::Nofile, none).unwrap();
    bench.driver.cancel(RECV);
    assert_eq!(bench.next(RECV).result, Err(Errno::CANCELED));
    drop(clients);
}
