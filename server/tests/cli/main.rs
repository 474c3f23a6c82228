//! The binary from outside: a broker as a process, and the commands against it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use broker::{Broker, Ended, corelane, end, folder, numbered, refused, serve};

#[cfg(test)]
mod backups;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod dump;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod repairs;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod subscriptions;
#[cfg(test)]
mod superblocks;
#[cfg(test)]
mod wire;

#[test]
fn message_goes_in_and_comes_out_once() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    assert!(
        broker.ready.contains("try: corelane --server "),
        "{}",
        broker.ready
    );
    let stored = broker.ok(&["enqueue", "hello", "first message"]);
    assert!(
        stored.starts_with("hello@0  stored (durable, copies 1) in "),
        "{stored}"
    );
    assert_eq!(broker.ok(&["dequeue", "hello"]), "first message\n");
    assert_eq!(broker.ok(&["dequeue", "hello", "--wait", "0s"]), "");
    // Whether or not the server is named by the environment.
    let mut command = corelane();
    command.env("CORELANE_SERVER", broker.data());
    assert!(end(command.args(["queue", "ls"])).ok().contains("hello"));
}

#[test]
fn lines_keep_their_order_and_bytes() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let lines = numbered("line ", 0..20_000);
    let input = format!("{lines}\n  \u{e4}\n");
    let summary = broker.run_with_input(&["enqueue", "lines", "-o", "json"], input.as_bytes());
    let summary: Value = serde_json::from_str(&summary.ok()).unwrap();
    assert_eq!(summary["v"], 1);
    assert_eq!(summary["confirmed"], 20_002);
    assert_eq!(summary["failed"], 0);
    assert_eq!(summary["last_offset"], 20_001);
    let taken = broker.ok(&["dequeue", "lines", "-n", "20002"]);
    assert_eq!(taken, input);
    assert_eq!(broker.ok(&["dequeue", "lines", "--wait", "0s"]), "");
}

#[test]
fn json_forms_come_with_their_version() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let arguments = [
        "enqueue",
        "q",
        "one",
        "--key",
        "k",
        "--header",
        "type=text",
        "--header",
        "tag=1",
        "--header",
        "tag=2",
        "-o",
        "jsonl",
    ];
    let stored: Value = serde_json::from_str(&broker.ok(&arguments)).unwrap();
    assert_eq!(stored["v"], 1);
    assert_eq!(stored["offset"], 0);
    assert_eq!(stored["class"], "durable");
    broker.run_with_input(&["enqueue", "q"], b"\xff\xfe").ok();
    let peeked = broker.ok(&["peek", "q", "-o", "json"]);
    let peeked: Value = serde_json::from_str(&peeked).unwrap();
    assert_eq!(peeked["v"], 1);
    assert_eq!(peeked["items"][0]["body"], "one");
    assert_eq!(peeked["items"][0]["key"], "k");
    let headers = serde_json::json!([
        {"name": "type", "value": "text"},
        {"name": "tag", "value": "1"},
        {"name": "tag", "value": "2"},
    ]);
    assert_eq!(peeked["items"][0]["headers"], headers);
    assert_eq!(peeked["items"][1]["body"]["base64"], "//4=");
    let taken = broker.ok(&["dequeue", "q", "-n", "2", "-o", "jsonl"]);
    let taken: Vec<Value> = taken
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0]["attempt"], 1);
    assert_eq!(taken[0]["body"], "one");
    assert_eq!(taken[0]["headers"], headers);
    let shown: Value =
        serde_json::from_str(&broker.ok(&["queue", "show", "q", "-o", "json"])).unwrap();
    assert_eq!(shown["queue"], "q");
    assert_eq!(shown["end"], 2);
    assert_eq!(shown["subscriptions"][0]["done"], 2);
}

#[test]
fn messages_taken_without_acknowledgement_come_again() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.run_with_input(&["enqueue", "q"], b"one\ntwo\n").ok();
    assert_eq!(
        broker.ok(&["dequeue", "q", "-n", "2", "--no-ack"]),
        "one\ntwo\n"
    );
    assert_eq!(broker.ok(&["peek", "q", "--from", "1"]).lines().count(), 2);
    let again = broker.ok(&["dequeue", "q", "-n", "2", "-o", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["items"][1]["body"], "two");
    // Giving back did not count as an attempt.
    assert_eq!(again["items"][1]["attempt"], 1);
}

#[test]
fn every_subscription_gets_every_message() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["enqueue", "q", "one"]);
    assert_eq!(
        broker.ok(&["dequeue", "q", "--subscription", "audit"]),
        "one\n"
    );
    broker.ok(&["dequeue", "q", "--wait", "0s"]);
    broker.ok(&["enqueue", "q", "two"]);
    assert_eq!(broker.ok(&["dequeue", "q"]), "two\n");
    assert_eq!(
        broker.ok(&["dequeue", "q", "--subscription", "audit"]),
        "two\n"
    );
}

#[test]
fn follow_prints_what_comes_until_its_count() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["queue", "create", "q"]);
    let mut follow = broker
        .command(&["dequeue", "q", "--follow", "-n", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for body in ["one", "two", "three"] {
        broker.ok(&["enqueue", "q", body]);
        assert_eq!(lines.next().unwrap().unwrap(), body);
    }
    assert!(lines.next().is_none());
    assert!(follow.wait().unwrap().success());
    assert_eq!(broker.ok(&["dequeue", "q", "--wait", "0s"]), "");
}

#[test]
fn reader_that_has_seen_enough_is_no_failure() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let input = numbered("a longer line ", 0..50_000);
    broker
        .run_with_input(&["enqueue", "q"], input.as_bytes())
        .ok();
    let mut child = broker
        .command(&["dequeue", "q", "-n", "50000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code(), 0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn queues_are_created_listed_shown_and_deleted() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let created = broker.ok(&["queue", "create", "q", "-o", "json"]);
    assert_eq!(
        created,
        "{\"v\":1,\"queue\":\"q\",\"change\":\"created\"}\n"
    );
    let again = broker.ok(&["queue", "create", "q", "-o", "json"]);
    assert_eq!(again, "{\"v\":1,\"queue\":\"q\",\"change\":\"exists\"}\n");
    let listed = broker.ok(&["queue", "ls"]);
    assert!(
        listed.starts_with("QUEUE  PARTITION  START  END  READY"),
        "{listed}"
    );
    assert!(
        broker
            .ok(&["queue", "show", "q"])
            .contains("SUBSCRIPTION  READY")
    );
    // Nobody can be asked here, so nothing is deleted.
    let refused = broker.run(&["queue", "rm", "q"]);
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    broker.ok(&["queue", "show", "q"]);
    broker.ok(&["queue", "rm", "q", "--yes"]);
    assert_eq!(broker.run(&["queue", "show", "q"]).code(), 4);
    assert_eq!(broker.run(&["queue", "rm", "q", "--yes"]).code(), 4);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    assert_eq!(broker.run(&["queue", "show", "nowhere"]).code(), 4);
    assert_eq!(broker.run(&["enqueue", "bad name", "x"]).code(), 2);
    assert_eq!(broker.run(&["dequeue"]).code(), 2);
    assert_eq!(broker.run(&["dequeue", "q", "-n", "0"]).code(), 2);
    assert_eq!(broker.run(&["dequeue", "q", "--lease", "soon"]).code(), 2);
    assert_eq!(
        broker
            .run(&["dequeue", "q", "--follow", "-o", "json"])
            .code(),
        2
    );
    assert_eq!(broker.run(&["--help"]).code(), 0);
    let codes = broker.ok(&["help", "exit-codes"]);
    assert!(codes.contains("6  no broker answers"), "{codes}");
    assert!(broker.ok(&["exit-codes"]).contains("4  the queue"));
    let address = broker.data();
    assert!(broker.stop().success());
    let mut command = corelane();
    let ended = end(command.args(["--server", &address, "enqueue", "q", "x"]));
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn confirmed_messages_survive_an_orderly_end_and_a_kill() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let input = numbered("", 0..5_000);
    broker
        .run_with_input(&["enqueue", "q"], input.as_bytes())
        .ok();
    assert_eq!(
        broker.ok(&["dequeue", "q", "-n", "1000"]).lines().count(),
        1_000
    );
    assert!(broker.stop().success());
    assert!(!folder.path().join("ports.json").exists());

    let broker = Broker::start(folder.path());
    let taken = broker.ok(&["dequeue", "q", "-n", "1000"]);
    assert!(taken.starts_with("1000\n1001\n"), "{}", &taken[..40]);
    broker.kill();

    let broker = Broker::start(folder.path());
    let rest = broker.ok(&["dequeue", "q", "-n", "3000"]);
    let expected = numbered("", 2_000..5_000);
    assert_eq!(rest, expected);
    assert_eq!(broker.ok(&["dequeue", "q", "--wait", "0s"]), "");
}

#[test]
fn control_port_tells_health_and_metrics() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["enqueue", "q", "x"]);
    let (status, body) = broker.get("/livez");
    assert_eq!(
        (
            status,
            serde_json::from_str::<Value>(&body).unwrap()["live"].clone()
        ),
        (200, true.into())
    );
    let (status, body) = broker.get("/readyz");
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(ready["partitions"]["serving"], ready["partitions"]["total"]);
    broker.until_metric("corelane_enqueues_total", 1.0);
    assert_eq!(broker.get("/nothing").0, 404);
}

#[test]
fn start_that_is_refused_names_cause_setting_and_command() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let pid = broker.child.id().to_string();
    let (code, text) = refused(&mut serve(folder.path()));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&pid) && text.contains("--data-dir"), "{text}");

    let other = tempfile::tempdir().unwrap();
    let mut command = serve(other.path());
    let (code, text) = refused(command.args(["--listen", &broker.data()]));
    assert_eq!(code, 2, "given twice: {text}");
    let control = broker.ports["control"].as_str().unwrap();
    let shard = broker.ports["shards"][0].as_str().unwrap();
    let shard_port = shard.rsplit(':').next().unwrap();
    for (taken, name) in [
        (["--listen", &broker.data()], "CORELANE_LISTEN"),
        (["--control", control], "CORELANE_CONTROL"),
        (["--shard-port", shard_port], "CORELANE_SHARD_PORT"),
    ] {
        let text = refused_start(other.path(), &taken);
        assert!(text.contains("Address already in use"), "{text}");
        assert!(text.contains(name) && text.contains("ss -ltnp"), "{text}");
    }
    // Of the network that documents use in examples; no machine has it.
    let address = "192.0.2.1:0";
    let text = refused_start(
        other.path(),
        &["--listen", address, "--allow-unauthenticated"],
    );
    assert!(text.contains("ip -brief address"), "{text}");
    for path in ["/proc/nowhere", "/dev/null"] {
        let text = refused_start(Path::new(path), &[]);
        assert!(
            text.contains(path) && text.contains("CORELANE_DATA_DIR"),
            "{text}"
        );
    }
}

/// A start on ports of its own choice, but for these arguments, that the machine refuses.
fn refused_start(directory: &Path, arguments: &[&str]) -> String {
    let mut command = corelane();
    command.arg("serve").args(arguments);
    for flag in ["--listen", "--control"] {
        if !arguments.contains(&flag) {
            command.args([flag, "127.0.0.1:0"]);
        }
    }
    let (code, text) = refused(command.arg("--data-dir").arg(directory));
    assert_eq!(code, 1, "{text}");
    text
}

#[test]
fn configuration_that_is_refused_ends_with_its_own_code() {
    let folder = folder();
    let file = folder.path().join("corelane.toml");
    std::fs::write(&file, "cores = 1\nlistn = \"127.0.0.1:0\"\n").unwrap();
    let mut command = corelane();
    let (code, text) = refused(command.arg("serve").arg("--config").arg(&file));
    assert_eq!(code, 3);
    assert!(
        text.contains("corelane.toml:2: unknown key \"listn\""),
        "{text}"
    );
    assert!(text.contains("did you mean \"listen\"?"), "{text}");
    let mut command = corelane();
    let (code, text) = refused(command.args(["serve", "--listen", "0.0.0.0:0"]));
    assert_eq!(code, 3);
    assert!(text.contains("allow_unauthenticated = true"), "{text}");
    let mut command = corelane();
    let (code, text) = refused(command.arg("serve").env("CORELANE_WATCHDOG", "soon"));
    assert_eq!(code, 3);
    assert!(
        text.contains("CORELANE_WATCHDOG: watchdog = \"soon\""),
        "{text}"
    );
}

#[test]
fn partition_count_is_fixed_when_the_directory_is_made() {
    let folder = folder();
    let broker = Broker::spawn(
        folder.path(),
        serve(folder.path()).args(["--partitions", "3"]),
    );
    assert!(broker.ready.contains("3 partitions"), "{}", broker.ready);
    assert!(broker.stop().success());
    let (code, text) = refused(serve(folder.path()).args(["--partitions", "4"]));
    assert_eq!(code, 3);
    assert!(
        text.contains("has 3 partitions, the setting says 4"),
        "{text}"
    );
    // The number of cores may change at any start.
    let broker = Broker::spawn(folder.path(), serve(folder.path()).args(["--cores", "1"]));
    assert!(broker.ready.contains("3 partitions"), "{}", broker.ready);
    assert_eq!(broker.ports["shards"].as_array().unwrap().len(), 1);
}

#[test]
fn more_shards_than_cores_serve_all_the_same() {
    let folder = folder();
    let cores = corelane::serve::usable_cores().len() + 5;
    let log = folder.path().join("log");
    let broker = Broker::spawn_logging_to(
        folder.path(),
        serve(folder.path()).args(["--cores", &cores.to_string()]),
        std::fs::File::create(&log).unwrap().into(),
    );
    assert_eq!(broker.ports["shards"].as_array().unwrap().len(), cores);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("`nproc`") && log.contains("--cores"), "{log}");
    for queue in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        broker.ok(&["enqueue", queue, queue]);
    }
    for queue in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert_eq!(broker.ok(&["dequeue", queue]), format!("{queue}\n"));
    }
}

/// The files of a data directory are more than the four that this process begins with.
#[test]
fn soft_limit_of_open_files_is_raised_before_anything_is_opened() {
    let folder = folder();
    let serve = serve(folder.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 4 && exec \"$@\"", "sh"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let broker = Broker::spawn(folder.path(), &mut command);
    broker.ok(&["enqueue", "q", "x"]);
}

#[test]
fn connection_beyond_the_maximum_is_closed_and_counted() {
    let folder = folder();
    let mut command = serve(folder.path());
    command.args(["--cores", "1", "--connections-max", "4"]);
    let broker = Broker::spawn(folder.path(), &mut command);
    let connect = || TcpStream::connect(broker.data()).unwrap();
    let kept: Vec<_> = (0..4).map(|_| connect()).collect();
    let mut refused = connect();
    assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
    broker.until_metric("corelane_connections_refused_total", 1.0);
    drop(kept);
}

#[test]
fn limit_of_open_files_that_is_too_low_is_named() {
    let folder = folder();
    let serve = serve(folder.path());
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\""]);
    limited.arg(serve.get_program()).args(serve.get_args());
    let (code, text) = refused(&mut limited);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the limit of open files is 100"), "{text}");
    assert!(
        text.contains("LimitNOFILE=") && text.contains("ulimit -Hn"),
        "{text}"
    );
}
