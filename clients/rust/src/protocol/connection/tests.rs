//! Scripted bytes against one connection.

use corelane_wire::{Correlation, DeliveryKind, Dequeue, ErrorCode, Lane, Request, Response};

use super::super::scripted::{
    SECOND, START, answer, delivery, feed, hello_answer, open, refusal, sent,
};
use super::*;

#[test]
fn greeting_asks_for_a_new_session_and_later_resumes_it() {
    let mut first = Protocol::new(ProtocolConfig::default(), START, SessionId::NONE);
    let hello = sent(&mut first);
    let Request::Hello(greeting) = hello[0].request() else {
        panic!("not a greeting");
    };
    assert!(!greeting.resume);
    assert!(first.request(&Request::Ping, None).is_err());

    let events = feed(&mut first, START, &answer(hello[0].call, &hello_answer())).unwrap();
    assert_eq!(events, ["open 99"]);

    let mut second = Protocol::new(ProtocolConfig::default(), START, SessionId(99));
    let hello = sent(&mut second);
    let Request::Hello(greeting) = hello[0].request() else {
        panic!("not a greeting");
    };
    assert!(greeting.resume);
    assert_eq!(greeting.session, SessionId(99));
}

#[test]
fn answers_may_come_out_of_order_and_in_pieces() {
    let mut protocol = open(START);
    let first = protocol.request(&Request::Ping, None).unwrap();
    let second = protocol.request(&Request::Metadata, None).unwrap();
    let mut bytes = answer(second, &refusal(ErrorCode::Busy));
    bytes.extend(answer(first, &Response::Pong));

    let mut events = Vec::new();
    for byte in bytes {
        events.extend(feed(&mut protocol, START, &[byte]).unwrap());
    }

    assert_eq!(
        events,
        [
            format!("answer {second} kind 0x80"),
            format!("answer {first} kind 0x82"),
        ]
    );
    assert_eq!(protocol.calls(), 0);
}

#[test]
fn pushed_deliveries_come_between_answers() {
    let mut protocol = open(START);
    let call = protocol.request(&Request::Ping, None).unwrap();
    let kind = DeliveryKind::Pushed(ConsumerId(3));
    let mut bytes = delivery(kind, Correlation(0), 1, 10, &["a", "b"]);
    bytes.extend(answer(call, &Response::Pong));

    let events = feed(&mut protocol, START, &bytes).unwrap();

    assert_eq!(
        events,
        [
            "delivery 3 of 2".to_owned(),
            format!("answer {call} kind 0x82")
        ]
    );
}

#[test]
fn call_past_its_deadline_expires_once_and_its_late_answer_is_ignored() {
    let mut protocol = open(START);
    let deadline = START.add(SECOND);
    let call = protocol.request(&Request::Ping, Some(deadline)).unwrap();
    assert_eq!(protocol.next_deadline(), Some(deadline));

    let mut expired = Vec::new();
    protocol.on_deadline(deadline, &mut expired).unwrap();
    assert_eq!(expired, [call]);
    expired.clear();
    protocol.on_deadline(deadline, &mut expired).unwrap();
    assert_eq!(expired, []);

    let events = feed(&mut protocol, deadline, &answer(call, &Response::Pong)).unwrap();
    assert_eq!(events, ["settled"]);
}

#[test]
fn late_answer_of_a_dequeue_is_told_since_its_messages_are_leased() {
    let mut protocol = open(START);
    let request = Request::Dequeue(Dequeue {
        queue: "orders",
        lane: Lane(0),
        subscription: "",
        count: 1,
        lease_ms: 30_000,
        wait_ms: 0,
    });
    let deadline = START.add(SECOND);
    let call = protocol.request(&request, Some(deadline)).unwrap();
    let mut expired = Vec::new();
    protocol.on_deadline(deadline, &mut expired).unwrap();
    assert_eq!(expired, [call]);
    let bytes = delivery(DeliveryKind::Dequeued, call, 1, 10, &["a"]);
    let events = feed(&mut protocol, deadline, &bytes).unwrap();
    assert_eq!(events, [format!("answer {call} kind 0x91")]);
}

#[test]
fn garbage_is_an_error_for_ever_after() {
    let mut protocol = open(START);
    let error = feed(&mut protocol, START, &[0xab; 64]).unwrap_err();
    assert!(matches!(error, ProtocolError::Frame(_)), "{error}");
    assert_eq!(feed(&mut protocol, START, &[]).unwrap_err(), error);
    assert!(protocol.request(&Request::Ping, None).is_err());
    assert_eq!(protocol.next_deadline(), None);
}

#[test]
fn every_flipped_byte_of_an_answer_is_an_error_or_ignored_but_no_panic() {
    let call = Correlation(2);
    let whole = answer(call, &refusal(ErrorCode::Busy));
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut protocol = open(START);
            assert_eq!(protocol.request(&Request::Ping, None).unwrap(), call);
            let mut bytes = whole.clone();
            bytes[index] ^= 1 << bit;
            // Too little may have come for a verdict; what counts is that nothing false is believed.
            let events = feed(&mut protocol, START, &bytes);
            assert!(
                events.is_err() || events == Ok(Vec::new()),
                "byte {index} bit {bit}"
            );
        }
    }
}

#[test]
fn answer_to_nothing_and_answer_of_another_kind_are_errors() {
    let mut protocol = open(START);
    let error = feed(
        &mut protocol,
        START,
        &answer(Correlation(77), &Response::Pong),
    )
    .unwrap_err();
    assert!(
        matches!(error, ProtocolError::UnexpectedAnswer { .. }),
        "{error}"
    );

    let mut protocol = open(START);
    let call = protocol.request(&Request::Ping, None).unwrap();
    let error = feed(&mut protocol, START, &answer(call, &Response::Subscribed)).unwrap_err();
    assert!(
        matches!(error, ProtocolError::WrongAnswer { .. }),
        "{error}"
    );
}

#[test]
fn refused_greeting_fault_and_cut_stream_say_why() {
    let mut protocol = Protocol::new(ProtocolConfig::default(), START, SessionId::NONE);
    let call = sent(&mut protocol)[0].call;
    let bytes = answer(call, &refusal(ErrorCode::Unauthenticated));
    let error = feed(&mut protocol, START, &bytes).unwrap_err();
    assert!(matches!(
        error,
        ProtocolError::Refused {
            code: ErrorCode::Unauthenticated,
            ..
        }
    ));

    let mut protocol = open(START);
    let fault = Response::Fault {
        code: ErrorCode::ShuttingDown,
        text: "bye".to_owned(),
    };
    let error = feed(&mut protocol, START, &answer(Correlation(0), &fault)).unwrap_err();
    assert!(matches!(
        error,
        ProtocolError::Fault {
            code: ErrorCode::ShuttingDown,
            ..
        }
    ));

    let mut protocol = open(START);
    let whole = answer(Correlation(2), &Response::Pong);
    feed(&mut protocol, START, &whole[..10]).unwrap();
    assert_eq!(
        protocol.on_closed(),
        ProtocolError::Closed { bytes_cut: 10 }
    );
}

#[test]
fn silent_peer_is_asked_for_a_sign_of_life_and_then_given_up() {
    let mut protocol = open(START);
    let mut expired = Vec::new();
    let asked = protocol.next_deadline().unwrap();
    assert_eq!(asked, START.add(5 * SECOND));
    protocol.on_deadline(asked, &mut expired).unwrap();
    let ping = sent(&mut protocol);
    assert_eq!(ping[0].request(), Request::Ping);

    // Alive: the next question comes five seconds after the answer.
    let events = feed(&mut protocol, asked, &answer(ping[0].call, &Response::Pong)).unwrap();
    assert_eq!(events, ["settled"]);
    let again = protocol.next_deadline().unwrap();
    assert_eq!(again, asked.add(5 * SECOND));

    protocol.on_deadline(again, &mut expired).unwrap();
    let dead = protocol.next_deadline().unwrap();
    let error = protocol.on_deadline(dead, &mut expired).unwrap_err();
    assert_eq!(
        error,
        ProtocolError::Silent {
            silence: 10 * SECOND
        }
    );
}

#[test]
fn greeting_that_takes_too_long_is_given_up() {
    let mut protocol = Protocol::new(ProtocolConfig::default(), START, SessionId::NONE);
    let deadline = protocol.next_deadline().unwrap();
    let error = protocol.on_deadline(deadline, &mut Vec::new()).unwrap_err();
    assert_eq!(error, ProtocolError::GreetingTimeout);
}

#[test]
fn calls_are_bounded() {
    let config = ProtocolConfig {
        calls_max: 2,
        ..ProtocolConfig::default()
    };
    let mut protocol = Protocol::new(config, START, SessionId::NONE);
    let call = sent(&mut protocol)[0].call;
    feed(&mut protocol, START, &answer(call, &hello_answer())).unwrap();
    let first = protocol.request(&Request::Ping, None).unwrap();
    protocol.request(&Request::Ping, None).unwrap();
    assert_eq!(protocol.request(&Request::Ping, None), Err(NoRoom));
    feed(&mut protocol, START, &answer(first, &Response::Pong)).unwrap();
    assert!(protocol.has_room());
}
