// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's stores to the interrupt controller's frames (GICv3, "GIC Architecture Specification"
//! IHI 0069, chapter 12). It reads them directly; its stores come here where it matters what they do.
//!
//! Control frames always: two of their registers hold physical addresses of tables that the
//! interrupt controller reads and writes past stage 2; these pass only where the guest is trusted
//! with the interrupt translation service. With guarded interrupts the distributor and
//! the local frames too, because EL2's timer must stay enabled, the only interrupt of Group 0, and
//! more urgent than everything of the guest's. The last is why the guest's priorities lose their
//! upper half: an interrupt that it never ends would otherwise hold back those below it for ever,
//! and ICC_BPR1_EL1, which is the guest's, takes away up to seven low bits before that comparison.

/// Bytes of one CPU's frames: control, then SGIs and PPIs.
pub const FRAMES: u64 = 0x2_0000;
/// Bytes of one frame.
pub const FRAME: u64 = 0x1_0000;
/// EL2's timer: the interrupt of CNTHP, a private one.
pub const EL2_TIMER: u32 = 26;
/// What every priority of a guest's interrupt has in guarded mode.
pub const LOW_PRIORITY: u8 = 0x80;

/// GICD_CTLR: Group 0, affinity routing, one security state: what EL2 relies on.
pub const CTLR_KEPT: u64 = 1 | 1 << 4 | 1 << 6;

/// A frame whose stores are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A redistributor's control frame.
    Control,
    /// The distributor.
    Distributor,
    /// A redistributor's frame of SGIs and PPIs.
    Local,
}

/// What the guest's config says about the interrupt controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// EL2 keeps a timer interrupt for itself.
    pub guarded: bool,
    /// The guest is trusted with the interrupt translation service, and so with the tables that
    /// control frames name.
    pub lpis: bool,
}

/// What becomes of a guest's store: the value to store, or none.
#[must_use]
pub fn filter(frame: Frame, mode: Mode, offset: u64, size: u32, value: u64) -> Option<u64> {
    if !offset.is_multiple_of(u64::from(size)) {
        return None;
    }
    match frame {
        Frame::Control => control(mode, offset, size, value),
        Frame::Distributor => distributor(offset, size, value),
        Frame::Local => local(offset, size, value),
    }
}

fn control(mode: Mode, offset: u64, size: u32, value: u64) -> Option<u64> {
    /// CTLR: LPIs, whose tables the guest must not place.
    const ENABLE_LPIS: u64 = 1;
    /// WAKER: the bit that software sets. A sleeping redistributor has no timer either.
    const PROCESSOR_SLEEP: u64 = 2;
    match (offset, size) {
        (0x00, 4) if mode.lpis => Some(value),
        (0x00, 4) => Some(value & !ENABLE_LPIS),
        // PROPBASER, PENDBASER.
        (0x70 | 0x78, 4 | 8) | (0x74 | 0x7c, 4) if mode.lpis => Some(value),
        // STATUSR.
        (0x10, 4) => Some(value),
        (0x14, 4) => Some(if mode.guarded { 0 } else { value & PROCESSOR_SLEEP }),
        _ => None,
    }
}

/// Shared interrupts: all the guest's, in Group 1. Registers of private ones are elsewhere, and so
/// the first of each kind does nothing.
fn distributor(offset: u64, size: u32, value: u64) -> Option<u64> {
    match (offset, size) {
        (0x0000, 4) => Some(value | CTLR_KEPT),
        // STATUSR, SETSPI_NSR, CLRSPI_NSR.
        (0x0010 | 0x0040 | 0x0048, 4) => Some(value),
        // IGROUPR, and of the extended range.
        (0x0084..0x0100 | 0x1000..0x1080, 4) => Some(u64::from(u32::MAX)),
        // ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER.
        (0x0100..0x0400, 4) if offset & 0x7f != 0 => Some(value),
        (0x1200..0x1e00, 4) => Some(value),
        // IPRIORITYR.
        (0x0420..0x0800 | 0x2000..0x2400, 1 | 4) => Some(low(size, value)),
        // ICFGR.
        (0x0c08..0x0d00 | 0x3000..0x3100, 4) => Some(value),
        // IROUTER, and of the extended range.
        (0x6100..0xa000, 4 | 8) => Some(value),
        _ => None,
    }
}

/// Private interrupts: the guest's, in Group 1, but EL2's timer. IGROUPR0 has its value for good.
fn local(offset: u64, size: u32, value: u64) -> Option<u64> {
    const TIMER: u64 = 1 << EL2_TIMER;
    /// ICFGR1: two bits for each interrupt from 16 on.
    const TIMER_TRIGGER: u64 = 3 << (2 * (EL2_TIMER - 16));
    const TIMER_PRIORITY: u64 = 0x400 + EL2_TIMER as u64;
    match (offset, size) {
        // IGROUPR1E, IGROUPR2E.
        (0x0084..0x0090, 4) => Some(u64::from(u32::MAX)),
        // ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER.
        (0x0100..0x0400, 4) if offset & 0x7f == 0 => Some(value & !TIMER),
        (0x0100..0x0400, 4) => Some(value),
        (TIMER_PRIORITY, 1) => None,
        (0x0400..0x0460, 1 | 4) => {
            let others = low(size, value);
            let holds_timer = offset == TIMER_PRIORITY & !3;
            Some(if holds_timer && size == 4 { others & !0x00ff_0000 } else { others })
        }
        (0x0c00, 4) => Some(value),
        (0x0c04, 4) => Some(value & !TIMER_TRIGGER),
        (0x0c08..0x0c18, 4) => Some(value),
        _ => None,
    }
}

/// Priorities of guest interrupts.
fn low(size: u32, value: u64) -> u64 {
    let all = u64::from(LOW_PRIORITY) * 0x0101_0101;
    if size == 1 { (value | u64::from(LOW_PRIORITY)) & 0xff } else { value | all }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Mode, filter};

    const DIRECT: Mode = Mode { guarded: false, lpis: false };
    const GUARDED: Mode = Mode { guarded: true, lpis: false };

    #[test]
    fn no_table_gets_through() {
        let control = |offset, size, value| filter(Frame::Control, DIRECT, offset, size, value);
        assert_eq!(control(0x14, 4, 0xffff_fffd), Some(0));
        assert_eq!(control(0x14, 4, 0xffff_fffe), Some(2));
        assert_eq!(control(0, 4, 0x0100_0001), Some(0x0100_0000));
        for (offset, size) in [(0x70, 8), (0x78, 8), (0x70, 4), (0x7c, 4), (0x14, 8), (0xffe8, 4)] {
            assert_eq!(control(offset, size, u64::MAX), None, "{offset:#x}");
        }
        assert_eq!(filter(Frame::Control, GUARDED, 0x14, 4, 2), Some(0), "it must not sleep");
    }

    #[test]
    fn who_has_the_its_places_tables() {
        let mode = Mode { guarded: false, lpis: true };
        let control = |offset, size| filter(Frame::Control, mode, offset, size, u64::MAX);
        for (offset, size) in [(0, 4), (0x70, 8), (0x78, 8), (0x70, 4), (0x74, 4), (0x7c, 4)] {
            assert_eq!(control(offset, size), Some(u64::MAX), "{offset:#x}");
        }
        for (offset, size) in [(0x74, 8), (0x14, 8), (0x80, 8), (0xffe8, 4)] {
            assert_eq!(control(offset, size), None, "{offset:#x}");
        }
    }

    #[test]
    fn nothing_reaches_the_timer() {
        let local = |offset, size, value| filter(Frame::Local, GUARDED, offset, size, value);
        let all = u64::from(u32::MAX);
        // Group, modifier, sleep of the frame itself, non-secure access, NMI.
        for offset in [0x80, 0xd00, 0xe00, 0xf80] {
            assert_eq!(local(offset, 4, 0), None, "{offset:#x}");
        }
        for offset in [0x100, 0x180, 0x200, 0x280, 0x300, 0x380] {
            assert_eq!(local(offset, 4, all), Some(0xfbff_ffff), "{offset:#x}");
        }
        assert_eq!(local(0x418, 4, 0), Some(0x8000_8080));
        assert_eq!(local(0x418, 4, all), Some(0xff00_ffff));
        assert_eq!(local(0x41a, 1, 0xff), None);
        assert_eq!(local(0x41b, 1, 0x20), Some(0xa0));
        assert_eq!(local(0xc04, 4, all), Some(0xffcf_ffff));
        // Halves and doubles of registers.
        for (offset, size) in [(0x418, 2), (0x41a, 2), (0x180, 8), (0x182, 4), (0x41c, 8)] {
            assert_eq!(local(offset, size, all), None, "{offset:#x}");
        }
    }

    #[test]
    fn the_distributor_stays_on_and_has_no_group_0() {
        let gicd = |offset, size, value| filter(Frame::Distributor, GUARDED, offset, size, value);
        assert_eq!(gicd(0, 4, 0), Some(0x51));
        assert_eq!(gicd(0, 4, 0x13), Some(0x53));
        assert_eq!(gicd(0x84, 4, 0), Some(0xffff_ffff));
        assert_eq!((gicd(0x80, 4, 0), gicd(0xd04, 4, 0)), (None, None));
        assert_eq!((gicd(0x104, 4, 5), gicd(0x184, 4, 5)), (Some(5), Some(5)));
        assert_eq!(gicd(0x420, 4, 0x0020_40a0), Some(0x80a0_c0a0));
        assert_eq!((gicd(0x425, 1, 0), gicd(0x400, 4, 0)), (Some(0x80), None));
        assert_eq!(gicd(0x6100, 8, 1 << 32), Some(1 << 32));
        assert_eq!((gicd(0xf00, 4, 0), gicd(0xc00, 4, 0), gicd(0xfffc, 4, 0)), (None, None, None));
    }
}
