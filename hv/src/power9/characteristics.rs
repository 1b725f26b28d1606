// SPDX-License-Identifier: Apache-2.0 OR MIT
//! H_GET_CPU_CHARACTERISTICS' two words, characteristics and behaviour (LoPAR, IBM bit numbers): what
//! the machine's firmware says of its processors' speculation (`fw-features` in its tree), and nothing
//! besides. What the firmware itself does at its border with the guest ([`super::flush`]) the guest
//! cannot build on: between two of its own programs nothing is flushed for it.

/// The word and the bit of what a node says, behind `+` if it says so by its property `enabled`, behind
/// `-` if by `disabled`. Words 0 and 1 are the hypercall's. The third is the firmware's own
/// ([`super::flush`]): machines whose firmware does not know these yet mean the contrary.
const FEATURES: &[u8] = b"\
+00inst-spec-barrier-ori31,31,0
+01fw-bcctrl-serialized
+02inst-l1d-flush-ori30,30,0
+03inst-l1d-flush-trig2
+04fw-l1d-thread-split
+07fw-count-cache-disabled
+09fw-count-cache-flush-bcctr2,0,0
+10speculation-policy-favor-security
+11needs-l1d-flush-msr-pr-0-to-1
+12needs-spec-barrier-for-bound-checks
+15needs-count-cache-flush-on-context-switch
+17no-need-l1d-flush-msr-pr-1-to-0
+18no-need-l1d-flush-kernel-on-user-access
+19no-need-store-drain-on-priv-state-switch
-21speculation-policy-favor-security
-22needs-l1d-flush-msr-hv-1-to-0
-23needs-spec-barrier-for-bound-checks";

/// What a machine says of its processors, by word and bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub [u64; 3]);

impl Features {
    /// Whether a bit is set, by word and bit as in `FEATURES`.
    #[must_use]
    pub const fn has(&self, word: usize, bit: u32) -> bool {
        self.0[word] >> (63 - bit) & 1 == 1
    }

    /// Whether the machine says anything.
    #[must_use]
    pub const fn are_told(&self) -> bool {
        self.has(2, 0)
    }

    /// Adds what `fw-features` or one of its nodes says, if anything.
    #[inline(never)]
    pub fn add(&mut self, node: &[u8], enabled: bool, disabled: bool) {
        self.0[2] |= 1 << 63;
        for row in FEATURES.split(|byte| *byte == b'\n') {
            let [how, word, bit, name @ ..] = row else { continue };
            if name == node && if *how == b'+' { enabled } else { disabled } {
                self.0[(word - b'0') as usize] |= 1 << (63 - (bit - b'0'));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn what_the_machine_has_enabled_is_told_and_nothing_else() {
        let mut features = Features::default();
        assert!(!features.are_told());
        for (node, enabled) in [
            ("fw-features", false),
            ("inst-spec-barrier-ori31,31,0", true),
            ("fw-bcctrl-serialized", false),
            ("inst-l1d-flush-trig2", true),
            ("needs-l1d-flush-msr-pr-0-to-1", true),
            ("needs-spec-barrier-for-bound-checks", false),
            ("needs-count-cache-flush-on-context-switch", true),
            ("no-need-store-drain-on-priv-state-switch", true),
            // The hypervisor's own affair, and not a feature at all.
            ("needs-l1d-flush-msr-hv-1-to-0", true),
            ("cpus", true),
        ] {
            features.add(node.as_bytes(), enabled, false);
        }
        assert!(features.are_told());
        assert_eq!(features.0, [1 << 63 | 1 << 60, 1 << 62 | 1 << 58 | 1 << 54, 1 << 63]);
    }

    #[test]
    fn what_is_denied_is_known_from_what_is_not_said() {
        let mut features = Features::default();
        features.add(b"speculation-policy-favor-security", false, true);
        features.add(b"needs-l1d-flush-msr-hv-1-to-0", false, false);
        assert_eq!(features.0, [0, 0, 1 << 63 | 1 << 62]);
    }
}
