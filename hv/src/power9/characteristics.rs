// SPDX-License-Identifier: Apache-2.0 OR MIT
//! H_GET_CPU_CHARACTERISTICS' two words, characteristics and behaviour (LoPAR, IBM bit numbers): what
//! the machine's firmware says of its processors' speculation (`fw-features` in its tree), and nothing
//! besides.

/// The node of each property, its word and its bit.
const FEATURES: [(&str, usize, u32); 11] = [
    ("inst-spec-barrier-ori31,31,0", 0, 0),
    ("fw-bcctrl-serialized", 0, 1),
    ("inst-l1d-flush-ori30,30,0", 0, 2),
    ("inst-l1d-flush-trig2", 0, 3),
    ("fw-l1d-thread-split", 0, 4),
    ("fw-count-cache-disabled", 0, 7),
    ("fw-count-cache-flush-bcctr2,0,0", 0, 9),
    ("speculation-policy-favor-security", 1, 0),
    ("needs-l1d-flush-msr-pr-0-to-1", 1, 1),
    ("needs-spec-barrier-for-bound-checks", 1, 2),
    ("needs-count-cache-flush-on-context-switch", 1, 5),
];

/// Adds what a node says: nothing, unless it is one of these and enabled.
#[inline(never)]
pub fn add(words: &mut [u64; 2], node: &[u8], enabled: bool) {
    if !enabled {
        return;
    }
    for (name, word, bit) in FEATURES {
        if node == name.as_bytes() {
            words[word] |= 1 << (63 - bit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::add;

    #[test]
    fn what_the_machine_has_enabled_is_told_and_nothing_else() {
        let mut words = [0; 2];
        for (node, enabled) in [
            ("inst-spec-barrier-ori31,31,0", true),
            ("fw-bcctrl-serialized", false),
            ("inst-l1d-flush-trig2", true),
            ("needs-l1d-flush-msr-pr-0-to-1", true),
            ("needs-spec-barrier-for-bound-checks", false),
            ("needs-count-cache-flush-on-context-switch", true),
            // The hypervisor's own affair, and not a feature at all.
            ("needs-l1d-flush-msr-hv-1-to-0", true),
            ("cpus", true),
        ] {
            add(&mut words, node.as_bytes(), enabled);
        }
        assert_eq!(words, [1 << 63 | 1 << 60, 1 << 62 | 1 << 58]);
    }
}
