use super::*;

#[test]
fn hash_functions_have_their_published_values() {
    assert_eq!(fnv1a(FNV_BASIS, b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(FNV_BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(FNV_BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    assert_eq!(fmix64(0), 0);
    assert_eq!(fmix64(1), 0xb456_bcfc_34c2_cb2c);
}

#[test]
fn tenant_and_queue_do_not_run_into_each_other() {
    let of = |tenant, queue| partition_of(tenant, queue, Lane(0), u32::MAX);
    assert_ne!(of("ab", "c"), of("a", "bc"));
}

#[test]
fn queues_spread_evenly() {
    const EXPECTED: u32 = if cfg!(miri) { 16 } else { 1_000 };
    let mut counts = [0_u32; 48];
    for number in 0..48 * EXPECTED {
        let queue = format!("queue-{number}");
        counts[partition_of("default", &queue, Lane(0), 48).0 as usize] += 1;
    }
    let deviation = EXPECTED.isqrt();
    assert!(
        counts
            .iter()
            .all(|count| count.abs_diff(EXPECTED) < 5 * deviation),
        "{counts:?}"
    );
}
