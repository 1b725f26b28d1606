// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Samples of one kind of event, and what is said of them.
use crate::say;

const SAMPLES: usize = 1000;

/// Takes samples and says their spread. One before them finds what happens only once.
pub fn measure(name: &str, sample: impl Fn() -> u64) {
    sample();
    let mut samples = [0; SAMPLES];
    for slot in &mut samples {
        *slot = sample();
    }
    samples.sort_unstable();
    let [min, median, p99, max] = [0, 500, 990, 999].map(|n| samples[n]);
    say!("bench {name} min={min} median={median} p99={p99} max={max}");
}
