use std::net::TcpListener;
use std::process::Command;

use corelane_tests::process::BrokerOptions;

use crate::Fixture;

/// Runs `corelane serve` with these arguments; it must refuse, and what it says is returned.
fn refused(options: &BrokerOptions, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(&options.binary)
        .arg("serve")
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().expect("it exits by itself"), said)
}

#[test]
fn a_data_directory_in_use_is_refused_with_the_pid_of_its_owner() {
    let fixture = Fixture::start();
    let data = fixture.options.data.to_str().unwrap();
    let (code, said) = refused(
        &fixture.options,
        &[
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--data-dir",
            data,
        ],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&fixture.broker.id().to_string()), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = options.data.to_str().unwrap();
    let (code, said) = refused(
        &options,
        &[
            "--dev",
            "--listen",
            &address,
            "--control",
            "127.0.0.1:0",
            "--data-dir",
            data,
        ],
    );
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn an_unknown_key_in_the_configuration_is_refused_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    let config = home.path().join("corelane.toml");
    std::fs::write(&config, "# a comment\nlisten_adress = \"127.0.0.1:0\"\n").unwrap();
    let (code, said) = refused(&options, &["--config", config.to_str().unwrap()]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("listen_adress") && said.contains('2'),
        "{said}"
    );
}

#[test]
fn a_file_in_place_of_the_data_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    std::fs::write(&options.data, "not a directory").unwrap();
    let data = options.data.to_str().unwrap();
    let (code, said) = refused(
        &options,
        &[
            "--dev",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--data-dir",
            data,
        ],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(data), "{said}");
}
