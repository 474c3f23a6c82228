use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);

fn open() -> Connection {
    let mut connection = Connection::new(NOW, Socket(1));
    connection.greet(SessionId(5));
    assert_eq!(connection.wish(), Wish::Recv);
    connection.recv_armed(NOW, Token(1));
    connection
}

fn plain(partition: u32) -> Unanswered {
    Unanswered {
        partition: PartitionId(partition),
        purpose: Purpose::Plain,
    }
}

fn subscribe(consumer: u32) -> Unanswered {
    Unanswered {
        partition: PartitionId(2),
        purpose: Purpose::Subscribe(ConsumerId(consumer)),
    }
}

#[test]
fn it_closes_only_after_both_operations_have_ended() {
    let mut connection = open();
    connection.out().extend_from_slice(b"answer");
    let Wish::Send(buffer) = connection.wish() else {
        panic!("bytes wait to be sent")
    };
    connection.send_started(Token(2), buffer.len());
    connection.cut();
    assert_eq!(connection.wish(), Wish::Cancel(Token(1)));
    assert_eq!(connection.wish(), Wish::Cancel(Token(2)));
    assert_eq!(connection.wish(), Wish::Nothing);
    connection.recv_ended();
    assert_eq!(connection.wish(), Wish::Nothing);
    connection.send_ended(buffer);
    assert_eq!(connection.wish(), Wish::Close);
}

#[test]
fn an_ending_connection_sends_its_last_frames_first() {
    let mut connection = open();
    connection.out().extend_from_slice(b"fault");
    connection.end(NOW);
    assert_eq!(connection.wish(), Wish::Cancel(Token(1)));
    let Wish::Send(buffer) = connection.wish() else {
        panic!("bytes wait to be sent")
    };
    assert_eq!(buffer, b"fault");
    connection.send_started(Token(2), buffer.len());
    connection.recv_ended();
    assert_eq!(connection.wish(), Wish::Nothing);
    connection.send_ended(buffer);
    assert_eq!(connection.wish(), Wish::Close);
}

#[test]
fn too_many_unanswered_requests_stop_the_reading_until_answers_come() {
    let mut connection = open();
    for correlation in 0..=UNANSWERED_MAX as u64 {
        connection.asked(Correlation(correlation), plain(0));
    }
    assert_eq!(connection.wish(), Wish::Cancel(Token(1)));
    connection.recv_ended();
    for correlation in 0..UNANSWERED_LOW as u64 {
        assert_eq!(connection.wish(), Wish::Nothing);
        connection.answered(Correlation(correlation), ErrorCode::Ok);
    }
    assert_eq!(connection.wish(), Wish::Nothing);
    connection.answered(Correlation(UNANSWERED_LOW as u64), ErrorCode::Ok);
    assert_eq!(connection.wish(), Wish::Recv);
}

#[test]
fn a_request_is_awaited_whatever_the_order_of_the_numbers() {
    let mut connection = open();
    for correlation in [5, 3, 9] {
        assert!(!connection.awaits(Correlation(correlation)));
        connection.asked(Correlation(correlation), plain(0));
    }
    for correlation in [9, 3, 5] {
        assert!(connection.awaits(Correlation(correlation)));
        connection.answered(Correlation(correlation), ErrorCode::Ok);
        assert!(!connection.awaits(Correlation(correlation)));
    }
}

#[test]
fn one_send_is_in_flight_and_the_next_takes_all_that_came_meanwhile() {
    let mut connection = open();
    connection.out().extend_from_slice(b"a");
    let Wish::Send(buffer) = connection.wish() else {
        panic!("bytes wait to be sent")
    };
    connection.send_started(Token(2), buffer.len());
    connection.out().extend_from_slice(b"b");
    connection.out().extend_from_slice(b"c");
    assert_eq!(connection.wish(), Wish::Nothing);
    assert_eq!(connection.out_bytes(), 3);
    connection.send_ended(buffer);
    assert_eq!(connection.wish(), Wish::Send(b"bc".to_vec()));
}

#[test]
fn a_refused_subscribe_leaves_no_consumer() {
    let mut connection = open();
    let consumer = ConsumerId(4);
    connection.asked(Correlation(1), subscribe(4));
    assert_eq!(connection.partition_of(consumer), Some(PartitionId(2)));
    connection.answered(Correlation(1), ErrorCode::Busy);
    assert_eq!(connection.partition_of(consumer), None);
}

#[test]
fn a_refused_subscribe_leaves_the_consumer_that_an_earlier_one_makes() {
    let mut connection = open();
    connection.asked(Correlation(1), subscribe(4));
    connection.asked(Correlation(2), subscribe(4));
    connection.answered(Correlation(2), ErrorCode::Busy);
    assert_eq!(connection.partition_of(ConsumerId(4)), Some(PartitionId(2)));
    connection.answered(Correlation(1), ErrorCode::Ok);
    connection.asked(Correlation(3), subscribe(4));
    connection.answered(Correlation(3), ErrorCode::Busy);
    assert_eq!(connection.partition_of(ConsumerId(4)), Some(PartitionId(2)));
}

#[test]
fn a_refused_subscribe_leaves_the_consumer_that_a_later_one_makes() {
    let mut connection = open();
    connection.asked(Correlation(1), subscribe(4));
    connection.asked(Correlation(2), subscribe(4));
    connection.answered(Correlation(1), ErrorCode::Busy);
    assert_eq!(connection.partition_of(ConsumerId(4)), Some(PartitionId(2)));
    connection.answered(Correlation(2), ErrorCode::Ok);
    assert_eq!(connection.partition_of(ConsumerId(4)), Some(PartitionId(2)));
}

#[test]
fn an_unsubscribe_leaves_the_consumer_that_was_asked_for_after_it() {
    let mut connection = open();
    connection.asked(Correlation(1), subscribe(4));
    connection.answered(Correlation(1), ErrorCode::Ok);
    let unsubscribe = Unanswered {
        partition: PartitionId(2),
        purpose: Purpose::Unsubscribe(ConsumerId(4)),
    };
    connection.asked(Correlation(2), unsubscribe);
    connection.asked(Correlation(3), subscribe(4));
    connection.answered(Correlation(2), ErrorCode::Ok);
    assert_eq!(connection.partition_of(ConsumerId(4)), Some(PartitionId(2)));
    connection.answered(Correlation(3), ErrorCode::Busy);
    assert_eq!(connection.partition_of(ConsumerId(4)), None);
}

#[test]
fn a_waiting_dequeue_is_not_an_owed_answer() {
    let mut connection = open();
    let dequeue = Unanswered {
        partition: PartitionId(2),
        purpose: Purpose::Dequeue,
    };
    connection.asked(Correlation(1), dequeue);
    assert!(!connection.owes_answers());
    connection.asked(Correlation(2), plain(3));
    assert!(connection.owes_answers());
    assert!(connection.owes_answer_of(PartitionId(2)));
    assert!(!connection.owes_answer_of(PartitionId(1)));
}

#[test]
fn a_frame_that_was_begun_has_a_deadline_of_its_own() {
    let mut connection = open();
    assert_eq!(connection.deadline, None);
    let second = Duration::from_secs(1);
    connection.received(NOW, 20, 0);
    let due = NOW.add(FRAME_WITHIN);
    assert_eq!(connection.deadline, Some(due));
    connection.received(NOW.add(second), 20, 0);
    assert_eq!(connection.deadline, Some(due), "a trickle wins no time");
    connection.received(NOW.add(second), 60, 60);
    assert_eq!(
        connection.deadline,
        Some(NOW.add(second).add(FRAME_WITHIN)),
        "the next frame was begun"
    );
    connection.received(NOW.add(second), 40, 80);
    assert_eq!(connection.deadline, None);
}

#[test]
fn a_frame_needs_not_end_while_the_connection_is_not_read() {
    let mut connection = open();
    connection.received(NOW, 20, 0);
    connection.out().resize(OUT_BYTES_HIGH + 1, 0);
    let Wish::Send(buffer) = connection.wish() else {
        panic!("bytes wait to be sent")
    };
    connection.send_started(Token(2), buffer.len());
    assert_eq!(connection.wish(), Wish::Cancel(Token(1)));
    assert_eq!(connection.deadline, None);
    connection.recv_ended();
    connection.send_ended(buffer);
    assert_eq!(connection.wish(), Wish::Recv);
    let later = NOW.add(Duration::from_mins(10));
    connection.recv_armed(later, Token(3));
    assert_eq!(connection.deadline, Some(later.add(FRAME_WITHIN)));
}
