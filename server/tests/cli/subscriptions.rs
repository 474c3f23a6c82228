//! Subscriptions, and messages that were set aside.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::{Broker, folder};

impl Broker {
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// Some fields of a subscription of the queue `q`.
    fn counts(&self, subscription: &str, fields: &[&str]) -> Vec<u64> {
        let shown = self.json(&["subscription", "show", "q", subscription]);
        let counts = fields.iter().map(|field| shown[field].as_u64().unwrap());
        counts.collect()
    }
}

#[test]
fn what_is_not_named_stays_as_it_was_configured() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let failures = ["--attempts-max", "3", "--rate-max", "20"];
    broker.ok(&[&["subscription", "create", "q", "s"][..], &failures].concat());
    let contract = ["--contract", "single-active", "--rate-max", "50"];
    broker.ok(&[&["subscription", "configure", "q", "s"][..], &contract].concat());
    let shown = broker.json(&["subscription", "show", "q", "s"]);
    let found = ["contract", "rate_max", "attempts_max"].map(|field| shown[field].clone());
    assert_eq!(found, [json!("single-active"), json!(50), json!(3)]);
}

#[test]
fn subscriptions_are_created_configured_listed_sought_and_deleted() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let create = ["subscription", "create", "q", "s", "--attempts-max", "3"];
    let changed = |change| json!({"v": 1, "queue": "q", "subscription": "s", "change": change});
    assert_eq!(broker.json(&create), changed("created"));
    assert_eq!(broker.json(&create), changed("exists"));
    let other = broker.run(&["subscription", "create", "q", "s"]);
    assert_eq!(other.code(), 1);
    assert!(
        other.stderr.contains("subscription_exists"),
        "{}",
        other.stderr
    );

    // What is not named stays as it is.
    let configure = ["subscription", "configure", "q", "s", "--backoff", "2s"];
    assert_eq!(broker.json(&configure), changed("configured"));
    let shown = broker.json(&["subscription", "show", "q", "s"]);
    let settings = ["attempts_max", "backoff_ms", "backoff_max_ms"].map(|field| &shown[field]);
    assert_eq!(settings, [3, 2_000, 0]);
    let nothing = broker.run(&["subscription", "configure", "q", "s"]);
    assert_eq!(nothing.code(), 2, "{}", nothing.stderr);

    broker.ok(&["subscription", "create", "q"]);
    let table = broker.ok(&["subscription", "ls", "q"]);
    let names: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["SUBSCRIPTION", "s", "default"]);
    let listed = broker.json(&["subscription", "ls", "q"]);
    assert_eq!(listed["items"][0]["subscription"], "s");
    let table = broker.ok(&["subscription", "show", "q", "s"]);
    let settings: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
    let expected = "0 0 0 0 competing front any any 3 2s 366d no";
    assert_eq!(settings.join(" "), expected);

    broker.run_with_input(&["enqueue", "q"], b"a\nb\nc\n").ok();
    broker.ok(&["dequeue", "q", "--subscription", "s", "-n", "3"]);
    let seek = |to| ["subscription", "seek", "q", "s", "--to", to];
    let asked = broker.run(&seek("earliest"));
    assert_eq!(asked.code(), 2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(broker.counts("s", &["done", "ready"]), [3, 0]);
    for (to, at) in [
        ("latest", 3),
        ("1", 1),
        ("1h", 0),
        ("1970-01-01T00:00:00Z", 0),
    ] {
        let sought = broker.json(&[&seek(to)[..], &["--yes"]].concat());
        assert_eq!(
            (&sought["change"], &sought["at"]),
            (&json!("sought"), &json!(at))
        );
    }
    assert_eq!(broker.counts("s", &["begin", "done", "ready"]), [0, 0, 3]);
    assert_eq!(broker.run(&[&seek("4")[..], &["--yes"]].concat()).code(), 1);
    assert_eq!(
        broker.run(&[&seek("soon")[..], &["--yes"]].concat()).code(),
        2
    );

    let rm = ["subscription", "rm", "q", "s"];
    assert_eq!(broker.run(&rm).code(), 2);
    assert_eq!(
        broker.json(&[&rm[..], &["--yes"]].concat()),
        changed("deleted")
    );
    assert_eq!(broker.run(&[&rm[..], &["--yes"]].concat()).code(), 4);
    assert_eq!(broker.run(&["subscription", "show", "q", "s"]).code(), 4);
    assert_eq!(broker.run(&["subscription", "ls", "nowhere"]).code(), 4);
}

#[test]
fn a_start_is_an_end_an_offset_or_a_time() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["subscription", "create", "q", "keeper"]);
    broker.run_with_input(&["enqueue", "q"], b"a\nb\nc\n").ok();
    for (start, name, begin) in [
        ("earliest", "first", 0),
        ("latest", "last", 3),
        ("2", "at", 2),
        ("30m", "young", 0),
        ("2100-01-01T00:00:00Z", "future", 3),
    ] {
        broker.ok(&["subscription", "create", "q", name, "--start", start]);
        assert_eq!(
            broker.counts(name, &["begin", "enqueued"]),
            [begin, 3 - begin],
            "{start}"
        );
    }
    // A time needs a queue to look into.
    let nowhere = ["subscription", "create", "nowhere", "--start", "30m"];
    assert_eq!(broker.run(&nowhere).code(), 4);
}

#[test]
fn a_pause_says_why_and_both_ways_of_naming_it_are_one() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.ok(&["enqueue", "q", "x"]);
    broker.ok(&["subscription", "create", "q"]);
    for (pause, resume) in [
        (&["pause", "q"][..], &["resume", "q"][..]),
        (
            &["subscription", "pause", "q"],
            &["subscription", "resume", "q"],
        ),
    ] {
        let paused = broker.json(&[pause, &["--reason", "bank holiday"]].concat());
        assert_eq!(paused["change"], "paused");
        assert_eq!(broker.ok(&["dequeue", "q", "--wait", "0s"]), "");
        let shown = broker.json(&["subscription", "show", "q"]);
        assert_eq!(shown["paused"]["reason"], "bank holiday");
        assert!(shown["paused"]["since_ms"].as_u64().unwrap() > 0);
        assert!(
            broker
                .ok(&["subscription", "ls", "q"])
                .contains("paused: bank holiday")
        );
        assert_eq!(broker.json(resume)["change"], "resumed");
        assert_eq!(
            broker.json(&["subscription", "show", "q"])["paused"],
            Value::Null
        );
    }
    assert_eq!(broker.ok(&["dequeue", "q"]), "x\n");
    let long = "x".repeat(257);
    assert_eq!(broker.run(&["pause", "q", "--reason", &long]).code(), 2);
    assert_eq!(broker.run(&["pause", "q", "other"]).code(), 4);
}

/// Of six messages in `q` the first two have used up their attempts, the third and the fifth are killed, and the
/// fourth is parked.
fn broker_with_dead(folder: &TempDir) -> Broker {
    let broker = Broker::start(folder.path());
    broker.ok(&["subscription", "create", "q", "--attempts-max", "1"]);
    broker
        .run_with_input(&["enqueue", "q"], b"a\nb\nc\nd\ne\nf\n")
        .ok();
    for (count, ending) in [
        ("2", "--fail"),
        ("1", "--kill"),
        ("1", "--park"),
        ("1", "--kill"),
    ] {
        broker.ok(&["dequeue", "q", "-n", count, ending, "no route"]);
    }
    assert_eq!(
        broker.counts("default", &["dead", "parked", "ready"]),
        [4, 1, 1]
    );
    broker
}

/// First offset, count and cause of the rows of dead messages for which these hold.
fn list(broker: &Broker, conditions: &[&str]) -> Vec<(u64, u64, String)> {
    let conditions = conditions.iter().flat_map(|it| ["--where", it]);
    let arguments: Vec<_> = ["dead", "ls", "q"].into_iter().chain(conditions).collect();
    let listed = broker.json(&arguments);
    let rows = listed["items"].as_array().unwrap().iter();
    let number = |value: &Value| value.as_u64().unwrap();
    rows.map(|row| {
        let cause = row["cause"].as_str().unwrap().to_owned();
        (number(&row["first"]), number(&row["count"]), cause)
    })
    .collect()
}

fn row(first: u64, count: u64, cause: &str) -> (u64, u64, String) {
    (first, count, cause.to_owned())
}

#[test]
fn dead_messages_are_listed_and_shown_by_what_happened_to_them() {
    let folder = folder();
    let broker = broker_with_dead(&folder);
    let all = [
        row(0, 2, "attempts"),
        row(2, 1, "rejected"),
        row(4, 1, "rejected"),
    ];
    let within = [row(1, 1, "attempts"), row(2, 1, "rejected")];
    assert_eq!(list(&broker, &[]), all);
    assert_eq!(list(&broker, &["cause=rejected"]), all[1..]);
    assert_eq!(list(&broker, &["cause=rejected", "offset>2"]), all[2..]);
    assert_eq!(list(&broker, &["offset>=1", "offset<3"]), within);
    assert_eq!(list(&broker, &["text~route", "age<1h", "attempts=1"]), all);
    assert_eq!(list(&broker, &["text~rout!"]), []);
    let table = broker.ok(&["dead", "ls", "q", "-n", "1"]);
    let words: Vec<_> = table.split_whitespace().collect();
    let headings = ["FIRST", "COUNT", "ATTEMPTS", "CAUSE", "AGE", "TEXT"];
    assert_eq!(words[..6], headings);
    assert_eq!(words[6..10], ["0", "2", "1", "attempts"]);
    assert_eq!(words[11..], ["no", "route"]);

    let shown = broker.json(&["dead", "show", "q", "1"]);
    let fields = ["first", "count", "text", "cause"].map(|field| shown[field].clone());
    assert_eq!(
        fields,
        [json!(1), json!(1), json!("no route"), json!("attempts")]
    );
    assert_eq!(shown["message"]["body"], "b");
    assert!(shown["leased_ms"].as_u64() <= shown["since_ms"].as_u64());
    assert!(
        broker
            .ok(&["dead", "show", "q", "1"])
            .ends_with("no route\n\nb\n")
    );
    let other = broker.run(&["dead", "show", "q", "3"]);
    assert_eq!(other.code(), 1);
    assert!(
        other.stderr.contains("message 3 of q is not dead"),
        "{}",
        other.stderr
    );
}

#[test]
fn dead_messages_are_redriven_if_they_match_and_no_more_than_asked_for() {
    let folder = folder();
    let broker = broker_with_dead(&folder);
    let redrive = |more: &[&str]| {
        let done = broker.json(&[&["dead", "redrive", "q"], more].concat());
        ["matched", "returned"].map(|field| done[field].as_u64().unwrap())
    };
    assert_eq!(redrive(&["--dry-run"]), [4, 0]);
    assert_eq!(
        redrive(&["--where", "cause=rejected", "--limit", "1"]),
        [1, 1]
    );
    assert_eq!(list(&broker, &["cause=rejected"]), [row(4, 1, "rejected")]);
    assert_eq!(redrive(&["--rate", "1000/s"]), [3, 3]);
    assert_eq!(redrive(&[]), [0, 0]);
    assert_eq!(
        broker.counts("default", &["dead", "parked", "ready"]),
        [0, 1, 5]
    );
    for wrong in [["--where", "size>3"], ["--rate", "fast"], ["--limit", "0"]] {
        let arguments = [&["dead", "redrive", "q"][..], &wrong].concat();
        assert_eq!(broker.run(&arguments).code(), 2, "{wrong:?}");
    }
}

#[test]
fn parked_messages_are_kicked_and_the_rest_is_purged() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.run_with_input(&["enqueue", "q"], b"a\nb\nc\n").ok();
    assert_eq!(
        broker.ok(&["dequeue", "q", "-n", "2", "--park", "later"]),
        "a\nb\n"
    );
    let listed = broker.json(&["park", "ls", "q"]);
    assert_eq!(listed["items"][0]["text"], "later");
    assert_eq!(
        broker.json(&["park", "show", "q", "0"])["message"]["body"],
        "a"
    );
    let kicked = broker.json(&["park", "kick", "q", "--where", "offset=1"]);
    assert_eq!(kicked["returned"], 1);
    assert_eq!(broker.json(&["dead", "ls", "q"])["items"], json!([]));
    let taken = broker.json(&["dequeue", "q", "--no-ack"]);
    assert_eq!(taken["items"][0]["body"], "b");
    assert_eq!(taken["items"][0]["attempt"], 2);

    let purge = ["purge", "q", "--state", "waiting", "--state", "parked"];
    let asked = broker.run(&purge);
    assert_eq!(asked.code(), 2);
    assert!(
        asked.stderr.contains("waiting and parked"),
        "{}",
        asked.stderr
    );
    let purged = broker.json(&[&purge[..], &["--yes"]].concat());
    assert_eq!(purged["count"], 3);
    let fields = ["enqueued", "purged", "ready", "parked"];
    assert_eq!(broker.counts("default", &fields), [3, 3, 0, 0]);
    assert_eq!(
        broker
            .run(&["purge", "q", "--state", "leased", "--yes"])
            .code(),
        2
    );
    assert_eq!(broker.run(&["purge", "q", "other", "--yes"]).code(), 4);
}

#[test]
fn a_message_has_one_ending() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    for endings in [
        &["--fail", "x", "--kill", "x"][..],
        &["--no-ack", "--park", "x"],
        &["--fail", "x", "--follow"],
    ] {
        let arguments = [&["dequeue", "q"], endings].concat();
        assert_eq!(broker.run(&arguments).code(), 2, "{endings:?}");
    }
}
