use super::*;

const S: SessionId = SessionId(7);

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

#[test]
fn only_the_first_and_the_last_connection_change_a_session() {
    let mut sessions = Sessions::default();
    assert_eq!(sessions.opened(S), Change::Resumed);
    assert_eq!(sessions.opened(S), Change::None);
    assert_eq!(sessions.closed(at(1), S), Change::None);
    assert_eq!(sessions.closed(at(1), S), Change::Lost);
    assert!(sessions.knows(S));
}

#[test]
fn a_lost_session_is_forgotten_after_its_time() {
    let mut sessions = Sessions::default();
    sessions.opened(S);
    sessions.closed(at(1), S);
    sessions.opened(SessionId(8));
    sessions.closed(at(7), SessionId(8));
    assert!(!sessions.knows(S));
    assert!(sessions.knows(SessionId(8)));
}

#[test]
fn a_session_that_came_back_is_not_forgotten_by_its_first_loss() {
    let mut sessions = Sessions::default();
    sessions.opened(S);
    sessions.closed(at(1), S);
    sessions.opened(S);
    sessions.closed(at(5), S);
    sessions.opened(SessionId(8));
    sessions.closed(at(7), SessionId(8));
    assert!(sessions.knows(S));
}
