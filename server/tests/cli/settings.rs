//! `corelane config` and what it says about configurations.

use std::fs;

use serde_json::Value;

use crate::broker::{corelane, end, folder, refused};

/// The lines of a table as words.
fn words(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn template_passes_its_own_check() {
    let folder = folder();
    let file = folder.path().join("corelane.toml");
    let template = end(corelane().args(["config", "template"])).ok();
    fs::write(&file, &template).unwrap();
    let checked = end(corelane()
        .args(["config", "check", "-o", "json"])
        .arg(&file))
    .ok();
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["v"], 1);
    assert_eq!(checked["keys"], 0);
    fs::write(&file, template.replace("#watchdog", "watchdog")).unwrap();
    let checked = end(corelane().args(["config", "check"]).arg(&file)).ok();
    assert_eq!(words(&checked)[1], [file.to_str().unwrap(), "1"]);
    // As a list, it names what the file sets.
    let keys = end(corelane().args(["config", "template", "-o", "json"])).ok();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    for key in keys["items"].as_array().unwrap() {
        let line = format!("\n#{} = ", key["key"].as_str().unwrap());
        assert!(template.contains(&line), "{line}");
    }
}

#[test]
fn file_that_is_refused_ends_with_its_own_code_line_and_suggestion() {
    let folder = folder();
    let file = folder.path().join("corelane.toml");
    for (text, expected) in [
        (
            "cores = 1\nwatchdgo = \"1s\"\n",
            "toml:2: unknown key \"watchdgo\"\n  did you mean \"watchdog\"?",
        ),
        (
            "cores = 0\n",
            "toml:1: cores = \"0\": expected a number from 1 to 1024",
        ),
        ("log = \"a=b=c\"\n", "toml:1: log: "),
        ("cores = \n", "toml:1: "),
    ] {
        fs::write(&file, text).unwrap();
        let (code, told) = refused(corelane().args(["config", "check"]).arg(&file));
        assert_eq!(code, 3, "{told}");
        assert!(told.contains(expected), "{told}");
    }
    let (code, told) = refused(corelane().args(["config", "check", "/nowhere.toml"]));
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("/nowhere.toml: cannot read"), "{told}");
    assert_eq!(refused(corelane().args(["config", "check"])).0, 2);
}

#[test]
fn what_holds_is_shown_with_its_origin() {
    let folder = folder();
    let file = folder.path().join("corelane.toml");
    let text = "# a comment\ncores = 3\nlisten = \"127.0.0.1:1\"\nlog = \"debug\"\n";
    fs::write(&file, text).unwrap();
    let line = |number| format!("{}:{number}", file.display());
    let mut command = corelane();
    command
        .env("CORELANE_CONFIG", &file)
        .env("CORELANE_LISTEN", "127.0.0.1:2")
        .env("CORELANE_LOG", "warn");
    command.args(["config", "show", "--listen", "127.0.0.1:3"]);
    let shown = end(&mut command).ok();
    let told = [
        ["KEY", "VALUE", "FROM"],
        ["cores", "3", &line(2)],
        ["listen", "127.0.0.1:3", "--listen"],
        ["log", "warn", "CORELANE_LOG"],
    ];
    assert_eq!(words(&shown), told);
    let shown = end(command.args(["--effective", "-o", "json"])).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |key: &str| {
        let items = shown["items"].as_array().unwrap().iter();
        items.clone().find(|item| item["key"] == key).unwrap()
    };
    assert_eq!(of("listen")["source"], "flag");
    assert_eq!(of("log")["source"], "environment");
    assert_eq!(of("cores")["source"], "file");
    assert_eq!(of("cores")["from"], line(2));
    assert_eq!(of("watchdog")["value"], "10s");
    assert_eq!(of("watchdog")["source"], "default");
    // Not a number that was given, but the one that follows from the cores.
    assert_eq!(of("partitions")["value"], "12");
    assert_eq!(of("port_file")["value"], Value::Null);
}
