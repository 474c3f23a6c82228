use super::*;
use crate::sim::random::Ppm;

#[test]
fn bytes_arrive_whole_and_in_order_however_they_are_cut_and_delayed() {
    let faults = NetworkFaults {
        slow: Ppm(300_000),
        split: Ppm(900_000),
        ..NetworkFaults::default()
    };
    let mut network = Network::new(5, faults);
    let id = network.open(0);
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    network.link(id).to_node.put(&sent);
    let (mut now, mut read) = (0, Vec::new());
    while read.len() < sent.len() {
        let arrivals = network.pump(now, id, Side::Node);
        now = arrivals.last().copied().unwrap_or(now + MILLISECOND);
        let pipe = &mut network.link(id).to_node;
        pipe.arrive(now);
        let count = pipe.received.len();
        read.extend(take(&mut pipe.received, count));
    }
    assert_eq!(read, sent);
}

#[test]
fn a_reader_that_does_not_read_stops_its_writer() {
    let mut network = Network::new(5, NetworkFaults::default());
    let id = network.open(0);
    network.link(id).to_client.put(&vec![1; 1 << 20]);
    for turn in 0..100 {
        network.pump(turn * SECOND, id, Side::Client);
        network.link(id).to_client.arrive((turn + 1) * SECOND);
    }
    let pipe = &network.link(id).to_client;
    assert!(pipe.received.len() <= 256 << 10);
    assert_eq!(pipe.received.len() + pipe.unsent_bytes(), 1 << 20);
}

#[test]
fn bytes_are_taken_across_the_seam_of_the_queue() {
    let mut queue = VecDeque::with_capacity(8);
    queue.extend([0, 0, 0, 0, 0, 1, 2, 3]);
    queue.drain(..5);
    queue.extend([4, 5, 6]);
    assert_eq!(take(&mut queue, 5), [1, 2, 3, 4, 5]);
    assert_eq!(queue, [6]);
}
