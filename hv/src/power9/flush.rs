// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flushes and barriers between guest and firmware: which are wanted, and their code.
//!
//! The core speculates across the border: by branch targets and return addresses that the guest has
//! trained, by loads past a bound or past an older store, and what such loads brought into the data
//! cache a guest may find there. What stands against it differs from part to part, so that the code is
//! made at boot ([`anchorite_spec::low::FLUSHES`]), and the vectors' calls of it are `nop`s until then.
//!
//! On the way in all of it comes before the firmware's first indirect branch and first return. On the
//! way out what follows it loads the guest's own registers, and beside them addresses that stand in the
//! image.
use core::fmt;

use anchorite_spec::manifest::{MITIGATIONS_OFF, MITIGATIONS_ON};

use super::characteristics::Features;

/// What is done: a set of the following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mitigations(pub u16);

/// On the way in: no speculation past a check of what the guest asks for.
pub const BOUNDS: u16 = 1;
/// Both ways: no load is answered by a store from the other side.
pub const STORES: u16 = 1 << 1;
/// On the way in: return addresses that the guest left are forgotten.
pub const LINK_STACK: u16 = 1 << 2;
/// On the way in: targets of indirect branches that the guest left are, too.
pub const COUNT_CACHE: u16 = 1 << 3;
/// On the way in: the firmware does not speculate on what the guest left in the data cache.
pub const L1D_IN: u16 = 1 << 4;
/// On the way out: the guest does not find there what the firmware has loaded.
pub const L1D_OUT: u16 = 1 << 5;
/// The count cache is emptied by one `bcctr 2,0,0`, not by as many as it has entries.
pub const ASSISTED: u16 = 1 << 6;
/// The data cache is emptied by `ori 30,30,0`, not by loads of as much other memory.
pub const ORI30: u16 = 1 << 7;
/// The data cache is emptied by a write to TRIG2.
pub const TRIG2: u16 = 1 << 8;
/// By bit.
const NAMES: &[u8] = b"bounds stores link-stack count-cache l1d-in l1d-out assisted ori30 trig2";
const ALL: u16 = BOUNDS | STORES | LINK_STACK | COUNT_CACHE | L1D_IN | L1D_OUT;

impl Mitigations {
    /// What is done on a machine that says `features`, with `policy` one of the manifest's
    /// `MITIGATIONS_*`. What its firmware says it needs is needed, and what it does not deny, as machines
    /// come with firmware that is older than the question. One that says nothing at all asks for nothing.
    #[must_use]
    pub fn choose(policy: u32, features: &Features) -> Self {
        /// What is not wanted, by a bit of the features and whether it is set then.
        const NOT: [(u8, u8, bool, u16); 7] = [
            (2, 1, true, BOUNDS | STORES | L1D_IN | L1D_OUT),
            (2, 3, true, BOUNDS),
            (0, 0, false, BOUNDS),
            (1, 9, true, STORES),
            (1, 5, false, COUNT_CACHE),
            (1, 7, true, L1D_IN),
            (2, 2, true, L1D_OUT),
        ];
        if policy == MITIGATIONS_OFF || policy != MITIGATIONS_ON && !features.are_told() {
            return Self(0);
        }
        let mut wanted = ALL;
        if policy != MITIGATIONS_ON {
            for (word, bit, set, not) in NOT {
                if features.has(word.into(), bit.into()) == set {
                    wanted &= !not;
                }
            }
            // Nothing in the tree asks for it. Who has to care for the count cache has to here, too.
            if wanted & COUNT_CACHE == 0 && !features.has(0, 7) {
                wanted &= !LINK_STACK;
            }
        }
        if wanted & COUNT_CACHE != 0 && features.has(0, 9) {
            wanted |= ASSISTED;
        }
        if wanted & (L1D_IN | L1D_OUT) != 0 {
            if features.has(0, 2) {
                wanted |= ORI30;
            } else if features.has(0, 3) {
                wanted |= TRIG2;
            }
        }
        Self(wanted)
    }

    /// Makes the code; `row` is room for [`ROW_WORDS`], of which the address is a multiple of 32,
    /// `area` memory to load, of [`AREA_BYTES`] and without secrets. Returns where the vectors' calls of
    /// the way in and of the way out go, if anything is done there.
    pub fn assemble(self, code: &mut Code, row: &mut Code, area: u64) -> [Option<u64>; 2] {
        if self.0 & (COUNT_CACHE | ASSISTED) == COUNT_CACHE {
            row.rows(1, &[LI_0_7FFF, MTCTR_0, NOP, NOP, NOP, NOP, NOP, NOP]);
            row.rows(COUNT_CACHE_ENTRIES, &[BCCTR_2, NOP, NOP, NOP, NOP, NOP, NOP, NOP]);
            row.rows(1, &[MTLR_11, MTCTR_12, BLR]);
        }
        WAYS.map(|steps| {
            let (at, mut acts) = (code.here(), false);
            for step in steps {
                if self.0 & (step.with | step.without) == step.with {
                    acts |= step.with != 0;
                    match step.word {
                        LOAD_ROW => code.load(0, row.at),
                        DISPLACE => {
                            code.load(11, area);
                            code.rows(1, &DISPLACED);
                        }
                        word => code.rows(step.times.into(), &[word]),
                    }
                }
            }
            acts.then_some(at)
        })
    }
}

impl fmt::Display for Mitigations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (bit, name) in NAMES.split(|byte| *byte == b' ').enumerate() {
            if self.0 >> bit & 1 == 1 {
                f.write_str(between)?;
                f.write_str(core::str::from_utf8(name).unwrap_or_default())?;
                between = ",";
            }
        }
        if between.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Return addresses that POWER9 predicts.
const LINK_STACK_ENTRIES: u16 = 64;
/// Indirect branches after which nothing of the count cache is left.
const COUNT_CACHE_ENTRIES: usize = 279;
/// Bytes of the level 1 data cache, and of one of its blocks.
pub const AREA_BYTES: u64 = 32 << 10;
const BLOCK: u64 = 128;
/// Words of the row of indirect branches, each in 32 bytes of its own, and of what stands around it.
pub const ROW_WORDS: usize = 8 + 8 * COUNT_CACHE_ENTRIES + 3;

// Instruction words (Power ISA 3.0B; the forms with a side effect besides: POWER9's user's manual).
/// No instruction after it before all earlier ones are known to be executed.
const ORI_31: u32 = 0x63ff_0000;
/// Empties the data cache where the machine's firmware says so; without effect otherwise.
const ORI_30: u32 = 0x63de_0000;
/// `mtspr TRIG2, r0`: the same.
const MTSPR_TRIG2: u32 = 0x7c12_dba6;
/// `eieio` with bit 6 set: drains the stores.
const EIEIO_STORES: u32 = 0x7e00_06ac;
/// `bcctr 2,0,0`: never branches while CTR is not 1.
const BCCTR_2: u32 = 0x4c40_0420;
const BL_NEXT: u32 = 0x4800_0005;
const BLR: u32 = 0x4e80_0020;
const LI_0_7FFF: u32 = 0x3800_7fff;
const MFLR_11: u32 = 0x7d68_02a6;
const MTCTR_0: u32 = 0x7c09_03a6;
const MTCTR_12: u32 = 0x7d89_03a6;
const MTLR_0: u32 = 0x7c08_03a6;
const MTLR_11: u32 = 0x7d68_03a6;
const NOP: u32 = 0x6000_0000;
const SYNC: u32 = 0x7c00_04ac;
/// Loads in one turn of [`DISPLACED`].
const TURN: u32 = 8;
const fn load(block: u32) -> u32 {
    0xe80b_0000 | (block * BLOCK as u32) // ld r0, …(r11)
}
/// Loads the area behind r11, once all prefetching of streams has ended.
const DISPLACED: [u32; 15] = [
    SYNC,
    0x3c00_6000,                                        // lis r0, 0x6000
    0x7d40_022c,                                        // dcbt 0, r0, 10
    0x3800_0000 | ((AREA_BYTES / BLOCK) as u32 / TURN), // li r0
    MTCTR_0,
    load(0),
    load(1),
    load(2),
    load(3),
    load(4),
    load(5),
    load(6),
    load(7),
    0x396b_0000 | (TURN * BLOCK as u32), // addi r11, r11
    0x4200_0000 | 0u32.wrapping_sub(4 * (TURN + 1)) & 0xfffc, // bdnz
];

/// One step, where all of `with` and none of `without` is wanted: a word, and how often.
struct Step {
    with: u16,
    without: u16,
    times: u16,
    word: u32,
}

const fn step(with: u16, without: u16, word: u32) -> Step {
    Step { with, without, times: 1, word }
}

/// Stands for what needs an address: the row's into r0.
const LOAD_ROW: u32 = 0;
/// The area's into r11, and [`DISPLACED`].
const DISPLACE: u32 = 1;

/// In and out. Who flushes the count cache flushes the link stack, too, so that a return can lead to the
/// row: there must be no indirect branch yet.
const WAYS: [&[Step]; 2] = [
    &[
        step(BOUNDS, 0, ORI_31),
        step(STORES, 0, EIEIO_STORES),
        step(L1D_IN | ORI30, 0, ORI_31),
        step(L1D_IN | ORI30, 0, ORI_30),
        step(L1D_IN | TRIG2, 0, MTSPR_TRIG2),
        step(L1D_IN, ORI30 | TRIG2, DISPLACE),
        step(LINK_STACK, 0, MFLR_11),
        Step { with: LINK_STACK, without: 0, times: LINK_STACK_ENTRIES, word: BL_NEXT },
        step(COUNT_CACHE | ASSISTED, 0, LI_0_7FFF),
        step(COUNT_CACHE | ASSISTED, 0, MTCTR_0),
        step(COUNT_CACHE | ASSISTED, 0, BCCTR_2),
        step(COUNT_CACHE, ASSISTED, LOAD_ROW),
        step(COUNT_CACHE, ASSISTED, MTLR_0),
        step(COUNT_CACHE, ASSISTED, BLR),
        step(LINK_STACK, 0, MTLR_11),
        step(0, 0, MTCTR_12),
        step(0, 0, BLR),
    ],
    &[
        step(STORES, 0, EIEIO_STORES),
        step(L1D_OUT | ORI30, 0, ORI_31),
        step(L1D_OUT | ORI30, 0, ORI_30),
        step(L1D_OUT | TRIG2, 0, MTSPR_TRIG2),
        step(L1D_OUT, ORI30 | TRIG2, DISPLACE),
        step(0, 0, BLR),
    ],
];

/// `bl` from one address to another, in reach of 32 MiB.
#[must_use]
pub const fn call(from: u64, to: u64) -> u32 {
    branch(from, to) | 1
}

/// `b`, likewise.
#[must_use]
pub const fn branch(from: u64, to: u64) -> u32 {
    0x4800_0000 | to.wrapping_sub(from) as u32 & 0x03ff_fffc
}

/// Instructions, put one after the other.
pub struct Code<'a> {
    at: u64,
    words: &'a mut [u32],
    len: usize,
}

impl<'a> Code<'a> {
    /// Room for them, which the core finds at `at`.
    pub const fn new(at: u64, words: &'a mut [u32]) -> Self {
        Self { at, words, len: 0 }
    }

    /// Where the next one goes.
    #[must_use]
    pub const fn here(&self) -> u64 {
        self.at + 4 * self.len as u64
    }

    /// The same words several times.
    #[inline(never)]
    fn rows(&mut self, times: usize, words: &[u32]) {
        for word in (0..times).flat_map(|_| words) {
            self.words[self.len] = *word;
            self.len += 1;
        }
    }

    /// `register` becomes `value`.
    #[inline(never)]
    fn load(&mut self, register: u32, value: u64) {
        let part = |shift: u32| (value >> shift) as u32 & 0xffff;
        let same = register << 21 | register << 16;
        let words = [
            0x3c00_0000 | register << 21 | part(48), // lis
            0x6000_0000 | same | part(32),           // ori
            0x7800_07c6 | same,                      // sldi 32
            0x6400_0000 | same | part(16),           // oris
            0x6000_0000 | same | part(0),            // ori
        ];
        self.rows(1, &words);
    }
}

#[cfg(test)]
mod tests {
    use anchorite_spec::manifest::MITIGATIONS_AUTO;

    use super::*;

    const AREA: u64 = 0x1_0200_1000;
    const ROW: u64 = 0x205_2080;

    /// The code that a choice makes: where its two ways begin, its words, and those of the row.
    fn made(mitigations: u16) -> ([Option<u64>; 2], Vec<u32>, Vec<u32>) {
        let (mut words, mut row) = (vec![0; 1024], vec![0; ROW_WORDS]);
        let mut code = Code::new(0x2000, &mut words);
        let mut branches = Code::new(ROW, &mut row);
        let calls = Mitigations(mitigations).assemble(&mut code, &mut branches, AREA);
        let (len, used) = (code.len, branches.len);
        words.truncate(len);
        row.truncate(used);
        (calls, words, row)
    }

    /// As `llvm-mc -triple=powerpc64le -mcpu=pwr9 -show-encoding` has them.
    const MC: &[(&str, u32)] = &[
        ("ori 31,31,0", 0x63ff_0000),
        ("ori 30,30,0", 0x63de_0000),
        ("mtspr 882,0", 0x7c12_dba6),
        ("eieio + bit 6", 0x7c00_06ac | 0x0200_0000),
        ("mflr 11", 0x7d68_02a6),
        ("bl .+4", 0x4800_0005),
        ("mtlr 11", 0x7d68_03a6),
        ("mtctr 12", 0x7d89_03a6),
        ("blr", 0x4e80_0020),
        ("li 0,0x7fff", 0x3800_7fff),
        ("mtctr 0", 0x7c09_03a6),
        ("mtlr 0", 0x7c08_03a6),
        ("bcctr 2,0,0", 0x4c40_0420),
        ("nop", 0x6000_0000),
        ("sync", 0x7c00_04ac),
        ("lis 0,0x6000", 0x3c00_6000),
        ("dcbt 0,0,10", 0x7d40_022c),
        ("lis 0,0", 0x3c00_0000),
        ("ori 0,0,0", 0x6000_0000),
        ("sldi 0,0,32", 0x7800_07c6),
        ("oris 0,0,0x205", 0x6400_0205),
        ("ori 0,0,0x2080", 0x6000_2080),
        ("lis 11,0", 0x3d60_0000),
        ("ori 11,11,1", 0x616b_0001),
        ("sldi 11,11,32", 0x796b_07c6),
        ("oris 11,11,0x200", 0x656b_0200),
        ("ori 11,11,0x1000", 0x616b_1000),
        ("li 0,32", 0x3800_0020),
        ("ld 0,0(11)", 0xe80b_0000),
        ("ld 0,128(11)", 0xe80b_0080),
        ("ld 0,256(11)", 0xe80b_0100),
        ("ld 0,384(11)", 0xe80b_0180),
        ("ld 0,512(11)", 0xe80b_0200),
        ("ld 0,640(11)", 0xe80b_0280),
        ("ld 0,768(11)", 0xe80b_0300),
        ("ld 0,896(11)", 0xe80b_0380),
        ("addi 11,11,1024", 0x396b_0400),
        ("bdnz .-36", 0x4200_ffdc),
    ];

    /// The words of `text`, one instruction a line, `64x` in front of one that is there so often.
    fn assembled(text: &str) -> Vec<u32> {
        let word = |line: &str| {
            let known = MC.iter().find(|(text, _)| *text == line);
            known.unwrap_or_else(|| panic!("nobody has assembled `{line}`")).1
        };
        let lines = text.split(';').map(str::trim).filter(|line| !line.is_empty());
        lines
            .flat_map(|line| match line.split_once("x ") {
                Some((times, line)) => vec![word(line); times.parse().expect("a number")],
                None => vec![word(line)],
            })
            .collect()
    }

    const DISPLACED: &str =
        "lis 11,0; ori 11,11,1; sldi 11,11,32; oris 11,11,0x200; ori 11,11,0x1000;
        sync; lis 0,0x6000; dcbt 0,0,10; li 0,32; mtctr 0; ld 0,0(11); ld 0,128(11); ld 0,256(11);
        ld 0,384(11); ld 0,512(11); ld 0,640(11); ld 0,768(11); ld 0,896(11); addi 11,11,1024;
        bdnz .-36;";

    #[test]
    fn each_state_is_the_code_that_an_assembler_makes_of_it() {
        for (state, way_in, way_out) in [
            (LINK_STACK, "mflr 11; 64x bl .+4; mtlr 11; mtctr 12; blr", "blr"),
            (
                COUNT_CACHE | LINK_STACK | ASSISTED | BOUNDS | STORES | L1D_IN | L1D_OUT | TRIG2,
                "ori 31,31,0; eieio + bit 6; mtspr 882,0; mflr 11; 64x bl .+4; li 0,0x7fff; mtctr 0;
                 bcctr 2,0,0; mtlr 11; mtctr 12; blr",
                "eieio + bit 6; mtspr 882,0; blr",
            ),
            (L1D_IN | ORI30, "ori 31,31,0; ori 30,30,0; mtctr 12; blr", "blr"),
            (L1D_OUT | ORI30, "mtctr 12; blr", "ori 31,31,0; ori 30,30,0; blr"),
            (STORES, "eieio + bit 6; mtctr 12; blr", "eieio + bit 6; blr"),
            (
                ALL,
                &format!(
                    "ori 31,31,0; eieio + bit 6; {DISPLACED} mflr 11; 64x bl .+4; lis 0,0; ori 0,0,0;
                     sldi 0,0,32; oris 0,0,0x205; ori 0,0,0x2080; mtlr 0; blr; mtlr 11; mtctr 12; blr"
                ),
                &format!("eieio + bit 6; {DISPLACED} blr"),
            ),
        ] {
            let (calls, words, row) = made(state);
            let [way_in, way_out] = [way_in, way_out].map(assembled);
            assert_eq!(words, [&way_in[..], &way_out].concat(), "{}", Mitigations(state));
            // A way that only leads back is called by nobody.
            let at = [(way_in.len() > 2, 0x2000), (way_out.len() > 1, 0x2000 + 4 * way_in.len() as u64)];
            assert_eq!(calls, at.map(|(acts, at)| acts.then_some(at)));
            let branches = "li 0,0x7fff; mtctr 0; 6x nop;".to_owned()
                + &"bcctr 2,0,0; 7x nop;".repeat(279)
                + "mtlr 11; mtctr 12; blr";
            let software = state & COUNT_CACHE != 0 && state & ASSISTED == 0;
            assert_eq!(row, if software { assembled(&branches) } else { Vec::new() });
        }
    }

    #[test]
    fn the_code_has_room_and_its_calls_reach_it() {
        let (_, words, _) = made(ALL);
        assert!(words.len() as u64 * 4 <= anchorite_spec::low::FLUSHES.size);
        // `bl 0x2000` at 0x1b4 and at 0x5a00.
        assert_eq!([call(0x1b4, 0x2000), call(0x5a00, 0x2000)], [0x4800_1e4d, 0x4bff_c601]);
    }

    /// What a machine's tree has enabled and disabled that asks for everything and helps with it.
    const HELPFUL: &[(&str, bool)] = &[
        ("inst-spec-barrier-ori31,31,0", true),
        ("inst-l1d-flush-trig2", true),
        ("inst-l1d-flush-ori30,30,0", false),
        ("fw-l1d-thread-split", true),
        ("fw-bcctrl-serialized", false),
        ("fw-count-cache-disabled", false),
        ("fw-count-cache-flush-bcctr2,0,0", true),
        ("needs-count-cache-flush-on-context-switch", true),
        ("needs-l1d-flush-msr-hv-1-to-0", true),
        ("needs-l1d-flush-msr-pr-0-to-1", true),
        ("needs-spec-barrier-for-bound-checks", true),
        ("speculation-policy-favor-security", true),
    ];

    fn machine(nodes: &[(&str, bool)]) -> Features {
        let mut features = Features::default();
        features.add(b"fw-features", false, false);
        for (node, enabled) in nodes {
            features.add(node.as_bytes(), *enabled, !*enabled);
        }
        features
    }

    fn chosen(policy: u32, features: &Features) -> String {
        Mitigations::choose(policy, features).to_string()
    }

    #[test]
    fn the_machine_decides_unless_the_config_does() {
        let silent = Features::default();
        let told = machine(HELPFUL);
        assert_eq!(chosen(MITIGATIONS_AUTO, &silent), "none");
        assert_eq!(chosen(MITIGATIONS_OFF, &silent), "none");
        assert_eq!(chosen(MITIGATIONS_OFF, &told), "none");
        let all = "bounds,stores,link-stack,count-cache,l1d-in,l1d-out";
        assert_eq!(chosen(MITIGATIONS_ON, &silent), all);
        assert_eq!(chosen(MITIGATIONS_ON, &told), format!("{all},assisted,trig2"));
        assert_eq!(chosen(MITIGATIONS_AUTO, &told), format!("{all},assisted,trig2"));
    }

    #[test]
    fn each_feature_has_its_part() {
        let auto = |nodes: &[(&str, bool)]| chosen(MITIGATIONS_AUTO, &machine(nodes));
        // An older firmware: what it does not deny is needed.
        assert_eq!(auto(&[]), "stores,l1d-in,l1d-out");
        assert_eq!(auto(&[("inst-spec-barrier-ori31,31,0", true)]), "bounds,stores,l1d-in,l1d-out");
        assert_eq!(auto(&[("speculation-policy-favor-security", false)]), "none");
        assert_eq!(auto(&[("needs-l1d-flush-msr-hv-1-to-0", false)]), "stores,l1d-in");
        assert_eq!(auto(&[("no-need-l1d-flush-msr-pr-1-to-0", true)]), "stores,l1d-out");
        assert_eq!(auto(&[("no-need-store-drain-on-priv-state-switch", true)]), "l1d-in,l1d-out");
        assert_eq!(auto(&[("inst-l1d-flush-ori30,30,0", true)]), "stores,l1d-in,l1d-out,ori30");
        let fast = ("speculation-policy-favor-security", false);
        assert_eq!(auto(&[fast, ("fw-count-cache-disabled", true)]), "link-stack");
        let flushed = ("needs-count-cache-flush-on-context-switch", true);
        assert_eq!(auto(&[fast, flushed]), "link-stack,count-cache");
        let bounds = [
            ("inst-spec-barrier-ori31,31,0", true),
            ("needs-spec-barrier-for-bound-checks", false),
        ];
        assert_eq!(auto(&bounds), "stores,l1d-in,l1d-out");
    }
}
