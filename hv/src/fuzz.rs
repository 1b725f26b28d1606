// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz targets of what the firmware itself reads: the machine's tree, and everything that a guest
//! hands over, argument buffers in its memory among it.
use std::sync::atomic::Ordering;

use anchorite_fuzz::drive;
use anchorite_spec::papr;

use crate::core::Action;
use crate::core::fdt::{HEADER_BYTES, Tree, tests::tree};
use crate::mem::Gpa;
use crate::{arm64, power9};

/// What a guest does at most in one round.
const STEPS: usize = 32;

/// Numbers that decide something, or raw bytes, as an input has them.
struct Script<'a> {
    bytes: &'a [u8],
    edges: &'a [u64],
}

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    /// An edge, one more or one less than it, or eight bytes.
    fn number(&mut self) -> Option<u64> {
        let byte = usize::from(self.byte()?);
        if let Some(edge) = self.edges.get(byte % 64) {
            return Some(match byte / 64 {
                0 | 1 => *edge,
                2 => edge.wrapping_add(1),
                _ => edge.wrapping_sub(1),
            });
        }
        let (number, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u64::from_be_bytes(*number))
    }
}

#[test]
fn machine_tree() {
    drive("machine_tree", vec![tree().to_vec()], &[], |bytes| {
        // Trees lie on such a border.
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        let place = zerocopy::IntoBytes::as_mut_bytes(&mut words[..]);
        place[..bytes.len()].copy_from_slice(bytes);
        let bytes = &place[..bytes.len()];
        let size = bytes.first_chunk::<HEADER_BYTES>().map(Tree::size_of);
        let tree = match Tree::new(bytes) {
            Ok(tree) => tree,
            Err(error) => return format!("{:?} {error}", size.map(|size| size.is_ok())),
        };
        let mut seen = [0; 3];
        let outcome = tree.each(|node, property| {
            let Some(property) = property else {
                seen[0] += 1;
                seen[1] += node.properties().map(|own| own.name().len().min(1)).sum::<usize>();
                return;
            };
            seen[2] += 1;
            // One that stands behind a child is not found, nor one whose name has no end.
            if let Ok(name) = std::str::from_utf8(property.name()) {
                let found = node.property(name).is_some();
                assert!(!found || property.is(name), "found by a name that it does not have");
                seen[1] += usize::from(found);
            }
        });
        let reserved = tree.reservations().count();
        format!("{outcome:?} {reserved} {:?}", seen.map(|count| count.min(9)))
    });
}

/// What is handed over in calls of POWER9.
fn power9_edges() -> Vec<u64> {
    use power9::fake::{RAM, RTAS};
    let end = RAM.0 + RAM.1;
    let mut edges = vec![0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 256, 640, 0x1000, 0xffff, 0x1_0000];
    edges.extend([12, 20, 36, RAM.0, RAM.0 + 0x800, RTAS, end - 0x1000, end - 640, end - 8, end]);
    edges.extend([
        u32::MAX.into(),
        1 << 31,
        1 << 32,
        1 << 63,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 7,
    ]);
    // Subfunctions of H_REGISTER_VPA, a process table's type and flags.
    edges.extend((1..8).map(|which| which << 45));
    edges.extend([0x1d, 0x18, 1 << 62, 0xf << 60, 0x2000, 100, 512_000_000]);
    edges
}

const VECTORS: [u64; 15] = [
    0x100, 0x200, 0x300, 0x400, 0x700, 0x900, 0x980, 0xc00, 0xe00, 0xe20, 0xe40, 0xe60, 0xe80,
    0xea0, 0xf80,
];

/// One step of a POWER9 guest: what it did and how that was answered. `None` at the script's end.
fn power9_step(v: &mut power9::Vcpu<power9::fake::Fake>, script: &mut Script) -> Option<String> {
    use power9::{exits, fake, hcall};
    let kind = script.byte()?;
    let mut args = [0; 9];
    for arg in args.iter_mut().take(usize::from(script.byte()?) % 9 + 1) {
        *arg = script.number()?;
    }
    let before = fake::total(v);
    let (what, action, code) = match kind % 4 {
        0 | 1 => {
            args[0] = match papr::SERVED.get(usize::from(kind / 4)) {
                Some(served) => served.number,
                None => args[0],
            };
            let mut ctx = fake::hcall(&args);
            ctx.msr |= if kind & 1 == 0 { 0 } else { args[8] & (power9::regs::msr::EE | 1) };
            let action = hcall::serve(v, &mut ctx);
            let code = ctx.gpr[3] as i64;
            let known = match papr::served(args[0]) {
                Some(call) => call.returns(code),
                None => code == papr::FUNCTION || args[0] == hcall::H_RTAS,
            };
            assert!(known || action != Action::Resume, "{:#x} returns {code}", args[0]);
            (args[0], action, ctx.gpr[3])
        }
        2 => {
            // The buffer's words: token, how many in, how many out, inputs.
            let at = fake::RAM.0 + 0x800;
            let buffer = v.shared.memory.view(Gpa(at), 4 * args.len()).expect("RAM");
            (0..args.len()).for_each(|word| buffer.write_be32(4 * word, args[word] as u32));
            buffer.write_be32(0, (kind / 4 % 16).into());
            let place = if kind & 0x80 == 0 { at } else { args[8] };
            let mut ctx = fake::hcall(&[hcall::H_RTAS, place]);
            let action = hcall::serve(v, &mut ctx);
            (0x1_0000 + u64::from(kind / 4 % 16), action, buffer.read_be32(12).into())
        }
        _ => {
            let mut ctx = fake::context(VECTORS[usize::from(kind / 4) % VECTORS.len()]);
            ctx.gpr[3..12].copy_from_slice(&args);
            // With HV it would have been the firmware that was interrupted.
            (ctx.msr, ctx.nip) = ((ctx.msr ^ args[0]) & !power9::regs::msr::HV, args[1]);
            let fault = &mut v.machine.fault;
            (fault.hdar, fault.hdsisr, fault.asdr) = (args[2], args[3], args[4]);
            (v.machine.heir, v.machine.hfscr) = (args[5] as u32, args[6]);
            (v.machine.hvi, v.machine.hmi_fails) = (args[7] & 1 != 0, args[7] & 2 != 0);
            v.machine.ticks = v.machine.ticks.wrapping_add(args[8]);
            let vector = ctx.vector;
            (0x2_0000 + vector, exits::serve(v, &mut ctx), 0)
        }
    };
    assert!(fake::total(v) > before, "{what:#x} is not counted");
    let code = if (code as i64) < 0 || code < 64 { code as i64 } else { 64 };
    let text = format!("{what:x} {action:?} {code}");
    (!matches!(action, Action::End(_))).then_some(text)
}

#[test]
fn power9_calls() {
    let edges = power9_edges();
    let mut corpus: Vec<Vec<u8>> = (0..=255)
        .map(|kind| [&[0, 0, kind, 8][..], &[19; 9], &[kind, 3, 0, 1, 2, 3]].concat())
        .collect();
    corpus.push((0..=255).collect());
    drive("power9_calls", corpus, &[], |bytes| {
        let mut v = power9::fake::vcpu_of(3);
        let shared = v.shared;
        // Somebody else wakes it, whatever it waits for.
        v.machine.meanwhile = Some(Box::new(move || {
            let mut states = shared.states.lock();
            if states[0] == power9::vcpu::State::Stopped {
                let entry = power9::fake::RAM.0;
                states[0] = power9::vcpu::State::Starting { entry, argument: 7 };
            }
            shared.seats[0].prodded.store(true, Ordering::SeqCst);
        }));
        v.shared.states.lock()[1] = power9::vcpu::State::Running;
        let mut script = Script { bytes, edges: &edges };
        v.machine.console_full = script.byte().is_some_and(|byte| byte & 3 == 3);
        v.machine.input.extend(bytes.iter().take(40));
        v.machine.hardware_fails = script.byte().is_some_and(|byte| byte & 7 == 7);
        let mut last = String::new();
        for _ in 0..STEPS {
            let Some(way) = power9_step(&mut v, &mut script) else { break };
            last = way;
        }
        power9::fake::free(v);
        last
    });
}

/// What is handed over in calls of arm64, and where accesses go.
fn arm64_edges() -> Vec<u64> {
    let ram = arm64::fake::RAM;
    let mut edges = vec![0, 1, 2, 3, 4, 8, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0xffff_ffff, 1 << 31];
    edges.extend([1 << 32, 1 << 63, u64::MAX, u64::MAX - 1, ram, ram + 0xffc, ram + 0x1000]);
    // PSCI, SMCCC, SDEI and what is forwarded; the frames of the interrupt controller.
    edges.extend((0..23).map(|number| 0x8400_0000 + number));
    edges.extend([0xc400_0001, 0xc400_0003, 0xc400_0004, 0xc400_0053, 0x8000_0000, 0x8000_0001]);
    edges.extend([0x8000_0002, 0x8400_0050, 0xc400_0020, 0x800_0000, 0x80a_0014, 0x80a_0070]);
    edges.extend([0x80b_0000, 0x80c_0000, 0x80a_0010]);
    edges
}

/// Exception classes that a guest can have at EL2, and one that is none.
const CLASSES: [u64; 8] = [0x16, 0x17, 0x18, 0x20, 0x24, 0x01, 0x07, 0x3f];

fn arm64_step(v: &mut arm64::Vcpu<arm64::fake::Fake>, script: &mut Script) -> Option<String> {
    use arm64::{exits, fake};
    let (kind, how) = (script.byte()?, script.byte()?);
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = script.number()?;
    }
    let class = CLASSES[usize::from(kind) % 8];
    let iss =
        if class == 0x16 || class == 0x17 { u64::from(how >> 7) } else { args[5] & 0x1ff_ffff };
    let mut ctx = fake::context(class << 26 | 1 << 25 | iss);
    ctx.vector = if how & 15 == 15 { u64::from(how >> 4) << 7 } else { ctx.vector };
    ctx.gpr[..5].copy_from_slice(&args[..5]);
    ctx.gpr[28] = args[4];
    v.machine.fault.far = args[0];
    v.machine.fault.hpfar = args[1] >> 8;
    v.machine.translated = (how & 1 == 0).then_some(args[2]);
    v.machine.counter = v.machine.counter.wrapping_add(args[3]);
    v.machine.timer_rings = how & 2 != 0;
    let before: u64 = v.row.count.iter().sum();
    let action = if exits::quick(v, &mut ctx) { Action::Resume } else { exits::serve(v, &mut ctx) };
    let counted = v.row.count.iter().sum::<u64>() > before;
    assert!(counted || class == 1 || ctx.vector & 0x180 != 0, "class {class:#x} is not counted");
    let code = if (ctx.gpr[0] as i64) < 0 || ctx.gpr[0] < 16 { ctx.gpr[0] as i64 } else { 16 };
    let number = if class == 0x16 || class == 0x17 { args[0] } else { iss >> 22 };
    let text = format!("{class:x} {:x} {action:?} {code}", number & 0xffff_ffff);
    (!matches!(action, Action::End(_))).then_some(text)
}

#[test]
fn arm64_calls() {
    let edges = arm64_edges();
    let corpus = (0..=255).map(|kind| {
        [vec![kind], [kind, kind, 20, 19, 30, 40, 17, 0].repeat(4), vec![kind; 32]].concat()
    });
    drive("arm64_calls", corpus.collect(), &[], |bytes| {
        let mut script = Script { bytes, edges: &edges };
        let mut v = match script.byte().unwrap_or_default() % 4 {
            0 => arm64::fake::vcpu(),
            1 => arm64::fake::vcpu_of(true),
            2 => arm64::fake::watched(3, true),
            _ => arm64::fake::watched(3, false),
        };
        let mut last = String::new();
        for _ in 0..STEPS {
            let Some(way) = arm64_step(&mut v, &mut script) else { break };
            last = way;
        }
        arm64::fake::free(v);
        last
    });
}
