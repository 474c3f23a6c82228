use std::collections::BTreeSet;
use std::net::TcpStream;

use super::*;
use crate::config::Settings;

fn config(cores: u16, listen: &str) -> Config {
    let settings = Settings::default()
        .flag("cores", Some(cores.to_string()))
        .flag("listen", Some(listen.to_owned()));
    Config::resolve(&settings, 1).unwrap()
}

#[test]
fn every_shard_listens_on_the_shared_port_and_on_one_of_its_own() {
    let ports = Ports::bind(&config(4, "127.0.0.1:0")).unwrap();
    let shared: BTreeSet<_> = ports
        .shared
        .iter()
        .map(|l| l.local_addr().unwrap())
        .collect();
    assert_eq!(shared, BTreeSet::from([ports.shared_address]));
    let own: BTreeSet<_> = ports.own_addresses.iter().collect();
    assert_eq!(own.len(), 4);
    assert!(!own.contains(&ports.shared_address));
    for address in own {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn shared_port_spreads_connections_over_the_shards() {
    let ports = Ports::bind(&config(4, "127.0.0.1:0")).unwrap();
    let connections: Vec<_> = (0..256)
        .map(|_| TcpStream::connect(ports.shared_address).unwrap())
        .collect();
    let mut accepted = Vec::new();
    for listener in &ports.shared {
        listener.set_nonblocking(true).unwrap();
        let mut count = 0;
        while listener.accept().is_ok() {
            count += 1;
        }
        accepted.push(count);
    }
    assert_eq!(accepted.iter().sum::<usize>(), connections.len());
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
}

#[test]
fn second_broker_on_the_same_port_is_refused_with_setting_and_command() {
    let first = Ports::bind(&config(2, "127.0.0.1:0")).unwrap();
    let taken = first.shared_address;
    let error = Ports::bind(&config(2, &taken.to_string())).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {taken}: Address already in use (os error 98)\n  setting: listen \
             (from --listen); flag --listen, variable CORELANE_LISTEN\n  try: ss -ltnp 'sport = \
             :{}'",
            taken.port()
        )
    );
    assert!(!error.is_config);
}

#[test]
fn own_ports_follow_the_setting() {
    let told = Settings::default()
        .flag("cores", Some("3".to_owned()))
        .flag("shard_port", Some("7600".to_owned()));
    let config = Config::resolve(&told, 1).unwrap();
    assert_eq!(own_port(&config, 2), 7_602);
    let zero = Config::resolve(&told.flag("shard_port", Some("0".to_owned())), 1).unwrap();
    assert_eq!(own_port(&zero, 2), 0);
}
