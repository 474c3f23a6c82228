use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::record::Latencies;

mod against_responder;
mod schema;

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

fn plan() -> Plan {
    Plan::new(NOWHERE, 7)
}

fn dues(plan: &Plan, producer: u32) -> Vec<u64> {
    let mut schedule = Schedule::new(plan, producer);
    let mut dues = Vec::new();
    while let Some(due) = schedule.due() {
        dues.push(due);
        schedule.advance();
    }
    dues
}

#[test]
fn producers_take_turns_at_equal_distances_without_drift() {
    let mut plan = plan();
    plan.mode = Loop::Open { per_second: 3 };
    plan.producers = 2;
    plan.warm_up = Duration::ZERO;
    plan.duration = Duration::from_secs(2);
    assert_eq!(dues(&plan, 0), [0, 666_666_666, 1_333_333_333]);
    assert_eq!(dues(&plan, 1), [333_333_333, 1_000_000_000, 1_666_666_666]);
}

#[test]
fn the_schedule_of_a_batch_has_every_message_of_the_rate() {
    let mut plan = plan();
    plan.mode = Loop::Open { per_second: 70_000 };
    plan.producers = 3;
    plan.batch = 7;
    plan.duration = Duration::from_secs(2);
    let batches: usize = (0..3).map(|producer| dues(&plan, producer).len()).sum();
    // With a warm-up of a second: three seconds at 70,000/s.
    assert_eq!(batches * 7, 210_000);
}

#[test]
fn the_schedule_of_a_backlog_ends_with_its_last_message() {
    let mut plan = plan();
    plan.mode = Loop::Backlog { messages: 10 };
    plan.producers = 2;
    plan.batch = 4;
    // Three batches of four hold ten messages, and two more.
    assert_eq!((dues(&plan, 0), dues(&plan, 1)), (vec![0, 0], vec![0]));
}

#[test]
fn a_plan_outside_its_bounds_is_refused_with_both_values() {
    let refused = |change: fn(&mut Plan)| {
        let mut plan = plan();
        change(&mut plan);
        plan.check().unwrap_err().to_string()
    };
    assert_eq!(
        refused(|plan| plan.body_bytes = 31),
        "a body of 31 bytes has no room for its stamp of 32"
    );
    assert_eq!(
        refused(|plan| plan.window = 1_001),
        "window is 1001, 1 to 1000 are allowed"
    );
    assert_eq!(
        refused(|plan| plan.mode = Loop::Open { per_second: 0 }),
        "a rate of 0 sends nothing"
    );
    assert_eq!(
        refused(|plan| plan.queues = 2),
        "2 queues for 1 producers: some would get nothing"
    );
    let backlog = |plan: &mut Plan| {
        plan.mode = Loop::Backlog { messages: 5 };
        plan.consumers = 0;
    };
    assert_eq!(
        refused(backlog),
        "a backlog of 5 messages for 0 consumers: nothing to drain"
    );
    assert!(refused(|plan| plan.batch = 60_000).contains("at most 1081344 are allowed"));
    plan().check().unwrap();
}

const STAMP: Stamp = Stamp {
    producer: 3,
    sequence: 1_022,
    intended_ns: 5,
};

#[test]
fn a_body_with_any_changed_byte_is_refused() {
    let payload = Payload::new(9, 100);
    let mut body = Vec::new();
    payload.write(STAMP, &mut body);
    assert_eq!((body.len(), payload.read(&body)), (100, Some(STAMP)));
    for at in 0..body.len() {
        let mut spoiled = body.clone();
        spoiled[at] ^= 0x10;
        assert_eq!(payload.read(&spoiled), None, "byte {at}");
    }
    assert_eq!(payload.read(&body[..99]), None);
    assert_eq!(Payload::new(10, 100).read(&body), None);
}

#[test]
fn the_ledger_tells_loss_duplicate_and_phantom_apart() {
    let mut ledger = Ledger::new(1);
    ledger.mark(0, 0, 5, Mark::SENT);
    ledger.mark(0, 0, 3, Mark::CONFIRMED);
    ledger.mark(0, 3, 1, Mark::REFUSED);
    assert!(ledger.deliver(0, 0));
    assert!(!ledger.deliver(0, 0));
    assert!(ledger.deliver(0, 1));
    assert!(ledger.deliver(0, 3));
    assert!(ledger.deliver(0, 9));
    assert!(!ledger.deliver(1, 0));
    let account = ledger.account(true);
    let expected = Account {
        sent: 5,
        confirmed: 3,
        refused: 1,
        unknown: 1,
        delivered: 4,
        lost: 1,
        duplicates: 1,
        reordered: 0,
        corrupt: 0,
        // One was refused, one never sent, one has no producer.
        phantoms: 3,
    };
    assert_eq!(account, expected);
    assert_eq!(ledger.account(false).lost, 0);
}

#[test]
fn what_two_threads_got_is_a_duplicate() {
    let mut sender = Ledger::new(1);
    sender.mark(0, 0, 2, Mark::SENT | Mark::CONFIRMED);
    sender.deliver(0, 0);
    let mut other = Ledger::new(1);
    other.deliver(0, 0);
    other.deliver(0, 1);
    sender.add(other);
    let account = sender.account(true);
    assert_eq!((account.lost, account.duplicates), (0, 1));
}

#[test]
fn a_quantile_needs_a_hundred_samples_beyond_it() {
    let mut latencies = Latencies::default();
    latencies.record_ns(1_000, 9_999);
    assert_eq!(Quantiles::of(&latencies, 1).p99_us, None);
    latencies.record_ns(1_000, 1);
    assert!(Quantiles::of(&latencies, 1).p99_us.is_some());
    // The messages of a batch are one sample.
    assert_eq!(Quantiles::of(&latencies, 2).p99_us, None);
}

#[test]
fn a_breach_decides_the_exit_code_whatever_is_accepted() {
    use Verdict::*;
    assert_eq!(exit_code(&[], &[]), 0);
    assert_eq!(exit_code(&[Breach, GeneratorLimited], &[Breach]), 22);
    assert_eq!(exit_code(&[GeneratorLimited, Noisy], &[]), 21);
    assert_eq!(
        exit_code(&[GeneratorLimited, Noisy], &[GeneratorLimited]),
        24
    );
    assert_eq!(exit_code(&[Noisy], &[Noisy]), 0);
    assert_eq!(exit_code(&[Refused], &[]), 26);
    assert_eq!(exit_code(&[Overloaded, TooFewSamples], &[]), 23);
    assert_eq!(exit_code(&[TooFewSamples], &[]), 25);
}
