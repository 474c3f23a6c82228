use super::run::run_seed;

#[test]
fn the_engine_does_what_the_model_says() {
    for seed in 1..=20 {
        let met = run_seed(seed, 500);
        assert!(met.is_ok(), "seed {seed} failed: {}", met.unwrap_err());
    }
}
