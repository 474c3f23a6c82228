use std::collections::BTreeSet;

use super::*;

#[test]
fn every_fault_has_a_text_of_its_own_with_its_values() {
    let faults = [
        LogFault::HeaderCopy,
        LogFault::Headers,
        LogFault::Torn(TornBy::Reordering),
        LogFault::Torn(TornBy::Garbage),
        LogFault::Missing(SegmentNumber(7)),
        LogFault::BrokenLink,
        LogFault::Length(4_711),
        LogFault::Level(99),
        LogFault::Leftover,
    ];
    let texts: BTreeSet<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), faults.len(), "{texts:?}");
    for told in ["segment 7", "4711 bytes", "level 99", "half a write"] {
        assert!(
            texts.iter().any(|text| text.contains(told)),
            "{told}: {texts:?}"
        );
    }
}
