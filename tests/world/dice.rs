//! Random instants that can be had again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random numbers from a seed: that of `ROOMCAST_TEST_SEED`, or another one each time, which is printed.
pub struct Dice(u64);

impl Dice {
    /// Those of this test.
    pub fn new(name: &str) -> Dice {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        let seed = std::env::var("ROOMCAST_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
        println!("{name}: ROOMCAST_TEST_SEED={seed}");
        Dice(seed)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        limit.mul_f64((mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64)
    }
}
