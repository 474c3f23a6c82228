//! Where segments begin and end, as the shell is told.

use corelane_wire::Lsn;

use crate::rig::Rig;

use super::{header_of, position_of};

#[test]
fn a_segment_is_named_once_when_its_first_block_goes_out() {
    let mut rig = Rig::new();
    assert_eq!(rig.log.take_rolled(), None);
    for _ in 0..30 {
        rig.append(6_000);
        while let Some(io) = rig.next_write() {
            let begins = (position_of(&io).1 == 0).then(|| header_of(&io).first_lsn);
            let named = rig.rolled.last().copied();
            assert!(
                begins.is_none() || begins == named,
                "{begins:?}, not {named:?}"
            );
            assert_eq!(rig.log.take_rolled(), None, "once");
            rig.write(&io);
            rig.done(io);
        }
    }
    assert!(rig.rolled.len() > 3 && rig.rolled[0] == Lsn(0));
    rig.restart().unwrap();
}
