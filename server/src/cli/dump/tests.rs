use corelane_client::Offset;
use corelane_wire::{PartitionId, Timestamp};

use super::*;
use crate::cli::exit::NOT_FOUND;

fn refused(code: ErrorCode) -> Result<QueueInfo, Error> {
    let text = String::new();
    Err(Error::Refused { code, text })
}

#[test]
fn dump_ends_where_the_queue_ended() {
    let queue = QueueInfo {
        name: "q".to_owned(),
        partition: PartitionId(0),
        lanes: 1,
        created: Timestamp::default(),
        start: Offset(3),
        end: Offset(7),
        subscriptions: Vec::new(),
    };
    assert_eq!(end_of(Ok(queue)).unwrap(), 7);
    assert_eq!(end_of(refused(ErrorCode::Poisoned)).unwrap(), u64::MAX);
    let failure = end_of(refused(ErrorCode::QueueNotFound)).unwrap_err();
    assert_eq!(failure.code(), NOT_FOUND);
}
