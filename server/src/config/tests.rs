use std::path::Path;

use super::keys::Kind;
use super::quantity::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::*;

fn file(text: &str) -> Result<Settings, ConfigError> {
    Settings::from_text(Path::new("corelane.toml"), text)
}

fn resolve(text: &str) -> Result<Config, ConfigError> {
    Config::resolve(&file(text)?, 2)
}

fn refused(text: &str) -> String {
    resolve(text).unwrap_err().to_string()
}

#[test]
fn defaults_serve_this_machine_only() {
    let config = Config::resolve(&Settings::default(), 2).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(config.control.to_string(), "127.0.0.1:7480");
    assert_eq!(config.shard_port, 7500);
    assert_eq!(config.data_dir, Path::new("/var/lib/corelane"));
    assert_eq!(config.cores, 2);
    assert_eq!(config.partitions_if_new(), 8);
    assert_eq!(config.watchdog, Duration::from_secs(10));
    assert_eq!(config.driver, DriverChoice::Auto);
    assert_eq!(config.source("listen"), &Source::Default);
}

#[test]
fn new_directory_gets_four_partitions_per_core_unless_told() {
    assert_eq!(resolve("cores = 16").unwrap().partitions_if_new(), 64);
    let told = resolve("cores = 16\npartitions = 3").unwrap();
    assert_eq!(told.partitions_if_new(), 3);
}

#[test]
fn dev_moves_the_data_here() {
    let config = resolve("dev = true").unwrap();
    assert_eq!(config.data_dir, Path::new("./corelane-data"));
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let text = "cores = 3\nlisten = \"127.0.0.1:1\"\nlog = \"warn\"\n";
    let environment = Settings::from_environment(|name| match name {
        "CORELANE_LISTEN" => Some("127.0.0.1:2".to_owned()),
        "CORELANE_LOG" => Some("debug".to_owned()),
        _ => None,
    });
    let flags = Settings::default()
        .flag("listen", Some("127.0.0.1:3".to_owned()))
        .flag("log", None);
    let settings = flags.over(environment).over(file(text).unwrap());
    let config = Config::resolve(&settings, 2).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.source("listen"), &Source::Flag);
    assert_eq!(config.log, "debug");
    assert_eq!(config.source("log"), &Source::Environment);
    assert_eq!(config.cores, 3);
    let line_one = Source::File {
        path: PathBuf::from("corelane.toml"),
        line: 1,
    };
    assert_eq!(config.source("cores"), &line_one);
    assert_eq!(config.control.port(), 7480);
}

#[test]
fn unknown_key_is_refused_with_its_line_and_the_nearest_name() {
    let text = "cores = 2\n\nlisten_port = 7400\n";
    assert_eq!(
        refused(text),
        "corelane.toml:3: unknown key \"listen_port\"\n  known keys: allow_unauthenticated, \
         cache_bytes, commit_mode, commit_threads, connections_max, control, cores, data_dir, dev, driver, \
         force_network_fs, listen, log, partitions, port_file, scrub_bytes_per_second, shard_port, stop_timeout, volatile_bytes, watchdog, write_timeout"
    );
    assert_eq!(
        refused("data-dirr = \"x\""),
        "corelane.toml:1: unknown key \"data-dirr\"\n  did you mean \"data_dir\"?"
    );
    assert_eq!(
        refused("cores = 2\nwatchdgo = \"1s\""),
        "corelane.toml:2: unknown key \"watchdgo\"\n  did you mean \"watchdog\"?"
    );
}

#[test]
fn wrong_values_are_refused_with_place_and_expectation() {
    assert_eq!(
        refused("watchdog = \"ten\""),
        "corelane.toml:1: watchdog = \"ten\": expected a duration such as 500ms, 30s, 5m or 2h"
    );
    assert_eq!(
        refused("cores = 0"),
        "corelane.toml:1: cores = \"0\": expected a number from 1 to 1024"
    );
    assert_eq!(
        refused("dev = 1"),
        "corelane.toml:1: dev = \"1\": expected true or false"
    );
    assert_eq!(
        refused("listen = \"7400\""),
        "corelane.toml:1: listen = \"7400\": expected ADDRESS:PORT, as in 127.0.0.1:7400 or \
         [::1]:7400"
    );
    assert_eq!(
        refused("driver = \"magic\""),
        "corelane.toml:1: driver = \"magic\": expected auto, uring, epoll or \
         glommio"
    );
    assert_eq!(
        refused("[listen]\nport = 1"),
        "corelane.toml:1: listen: expected a plain value, found table"
    );
    let flags = Settings::default().flag("cores", Some("many".to_owned()));
    assert_eq!(
        Config::resolve(&flags, 2).unwrap_err().to_string(),
        "--cores: cores = \"many\": expected a number from 1 to 1024"
    );
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let text = "cores = 2\nlisten = \n";
    assert!(refused(text).starts_with("corelane.toml:2: "));
}

#[test]
fn exposed_address_without_authentication_is_refused_with_the_line_to_add() {
    assert_eq!(
        refused("\nlisten = \"0.0.0.0:7400\""),
        "corelane.toml:2: listen: 0.0.0.0:7400 can be reached from other machines, and this \
         version does not ask clients who they are\n  if the network keeps strangers out, add \
         the line: allow_unauthenticated = true"
    );
    assert!(refused("control = \"[::]:7480\"").contains("allow_unauthenticated = true"));
    let text = "listen = \"0.0.0.0:7400\"\nallow_unauthenticated = true";
    assert!(resolve(text).is_ok());
    assert!(resolve("listen = \"[::1]:7400\"").is_ok());
}

#[test]
fn dev_never_leaves_this_machine() {
    let text = "listen = \"0.0.0.0:7400\"\nallow_unauthenticated = true\ndev = true";
    assert_eq!(
        refused(text),
        "corelane.toml:1: listen: 0.0.0.0:7400 is not a loopback address, and --dev serves only \
         this machine\n  start without --dev, or use 127.0.0.1:7400"
    );
}

#[test]
fn shard_ports_must_fit() {
    let text = "shard_port = 65534\ncores = 4";
    assert!(refused(text).contains("would end at 65537"));
    assert!(resolve("shard_port = 0\ncores = 4").is_ok());
}

#[test]
fn watchdog_that_would_bite_idle_shards_is_refused() {
    assert!(refused("watchdog = \"100ms\"").contains("take 2s or more"));
    assert!(resolve("watchdog = \"0s\"").is_ok());
    assert!(resolve("watchdog = \"2s\"").is_ok());
}

#[test]
fn quantities_are_read_with_their_units() {
    assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(parse_duration("5m"), Ok(Duration::from_mins(5)));
    assert_eq!(parse_duration("2 h"), Ok(Duration::from_hours(2)));
    for wrong in ["", "5", "s", "-1s", "1.5s", "1y", "99999999999999999999s"] {
        assert!(parse_duration(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(parse_bytes("4096"), Ok(4096));
    assert_eq!(parse_bytes("32MiB"), Ok(32 << 20));
    for wrong in ["", "1MB", "KiB", "-1", "99999999999GiB"] {
        assert!(parse_bytes(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn quantities_are_written_as_they_are_read() {
    for text in ["0s", "1ms", "1500ms", "59s", "5m", "36h", "2d"] {
        assert_eq!(format_duration(parse_duration(text).unwrap()), text);
    }
    for text in ["0", "1", "1000", "3KiB", "32MiB", "1GiB"] {
        assert_eq!(format_bytes(parse_bytes(text).unwrap()), text);
    }
}

#[test]
fn defaults_of_the_table_are_those_of_the_configuration() {
    let config = Config::resolve(&Settings::default(), 6).unwrap();
    let computed = ["cores", "data_dir", "partitions", "port_file"];
    for key in KEYS.iter().filter(|key| !computed.contains(&key.name)) {
        assert_eq!((key.value)(&config), key.default, "{}", key.name);
    }
    let value = |name| (keys::find(name).unwrap().value)(&config);
    assert_eq!(computed.map(value), ["6", "/var/lib/corelane", "24", ""]);
}

#[test]
fn numbers_are_taken_up_to_the_ends_of_their_ranges() {
    for key in KEYS {
        let Kind::Number { min, max } = key.kind else {
            continue;
        };
        for number in [min, max] {
            // Shards have ports one after the other, unless the system picks them.
            let settings = Settings::default()
                .flag("cores", Some("1".to_owned()))
                .flag("shard_port", Some("0".to_owned()))
                .flag(key.name, Some(number.to_string()));
            let config = Config::resolve(&settings, 2).unwrap();
            assert_eq!((key.value)(&config), number.to_string(), "{}", key.name);
        }
        for number in [i64::from(min) - 1, i64::from(max) + 1] {
            let text = refused(&format!("{} = {number}", key.name));
            assert!(text.ends_with(&key.kind.to_string()), "{text}");
        }
    }
}

#[test]
fn template_has_every_key_and_is_accepted_as_it_is_and_with_all_keys_on() {
    let template = template();
    assert_eq!(file(&template).unwrap(), Settings::default());
    for key in KEYS {
        for text in [key.doc.to_owned(), key.flag(), key.environment()] {
            assert!(template.contains(&text), "{text}");
        }
    }
    let all = template.replace("\n#", "\n").replace("\n ", "\n# ");
    let settings = file(&all).unwrap();
    assert_eq!(settings.values.len(), KEYS.len(), "{all}");
    let config = Config::resolve(&settings, 2).unwrap();
    assert_eq!(config.partitions, Some(16));
}

#[test]
fn key_table_is_sorted_and_names_flag_and_variable() {
    assert!(KEYS.is_sorted_by_key(|key| key.name));
    let key = keys::find("data_dir").unwrap();
    assert_eq!(key.flag(), "--data-dir");
    assert_eq!(key.environment(), "CORELANE_DATA_DIR");
}

#[test]
fn the_table_of_the_manual_is_that_of_the_keys() {
    let manual = include_str!("../../../docs/operating.md");
    let (_, table) = manual
        .split_once("| key | default | values | meaning |")
        .unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let row = |key: &Key| {
        let Key { name, default, .. } = key;
        format!("| `{name}` | {default} | {} | {} |", key.kind, key.doc)
    };
    let rows: Vec<_> = table.lines().skip(2).collect();
    let expected: Vec<_> = KEYS.iter().map(row).collect();
    assert_eq!(rows, expected, "the table in docs/operating.md");
}
