// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RTAS: the guest's run-time services (LoPAR ch. 7).
//!
//! The guest calls its stub in 32-bit real mode with the address of an argument buffer; the stub
//! hands that over by one private hypercall. The buffer is big-endian 32-bit words: token, number
//! of inputs, number of outputs, inputs, outputs; the first output is the status.
use anchorite_spec::rtas::{BUSY, HARDWARE, PARAMETER, SERVICES, SUCCESS};
use anchorite_spec::{End, ExitReason};

use super::board::Power9;
use super::context::GuestContext;
use super::nmi::Routines;
use super::vcpu::{State, Vcpu};
use crate::core::{Action, DateTime};
use crate::mem::{Gpa, GuestSlice};

const ARGS: usize = 16;
const HEAD_WORDS: usize = 3;

/// One call's argument buffer.
struct Call {
    buffer: GuestSlice,
    inputs: usize,
    outputs: usize,
}

impl Call {
    fn input(&self, n: usize) -> u32 {
        self.buffer.read_be32(4 * (HEAD_WORDS + n))
    }

    fn set_output(&self, n: usize, value: u32) {
        if n < self.outputs {
            self.buffer.write_be32(4 * (HEAD_WORDS + self.inputs + n), value);
        }
    }

    fn answer(&self, status: i32) -> Action {
        self.set_output(0, status as u32);
        Action::Resume
    }
}

type Handler<M> = fn(&mut Vcpu<M>, &mut GuestContext, &Call) -> Action;

/// How each of [`SERVICES`] is served: the ledger slot and the handler, which finds as many inputs
/// and outputs as the service has.
struct Table<M>(core::marker::PhantomData<M>);

impl<M: Power9> Table<M> {
    const ROWS: [(ExitReason, Handler<M>); SERVICES.len()] = [
        (ExitReason::RtasPowerOff, |_, _, _| Action::End(End::PoweredOff)),
        (ExitReason::RtasSystemReboot, |_, _, _| Action::End(End::Rebooted)),
        (ExitReason::RtasOsTerm, os_term),
        (ExitReason::RtasQueryCpuStoppedState, query_cpu_stopped_state),
        (ExitReason::RtasGetTimeOfDay, get_time_of_day),
        (ExitReason::RtasSetTimeOfDay, set_time_of_day),
        (ExitReason::RtasGetSystemParameter, get_system_parameter),
        (ExitReason::RtasStartCpu, start_cpu),
        (ExitReason::RtasStopSelf, stop_self),
        (ExitReason::RtasDisplayCharacter, display_character),
        (ExitReason::RtasNmiRegister, nmi_register),
        (ExitReason::RtasNmiInterlock, nmi_interlock),
    ];
}

/// The ledger slot of each of [`SERVICES`].
#[must_use]
pub fn reasons<M: Power9>() -> [ExitReason; SERVICES.len()] {
    Table::<M>::ROWS.map(|(reason, _)| reason)
}

/// Serves the stub's hypercall; r4 is the buffer's guest real address, 32 bits of it.
pub fn serve<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext) -> Action {
    let Some((token, call)) = accept(v, ctx.gpr[4] & 0xffff_ffff) else {
        v.count(ExitReason::RtasUnknown);
        ctx.gpr[3] = PARAMETER as i64 as u64;
        return Action::Resume;
    };
    ctx.gpr[3] = 0;
    let index = (token as usize).wrapping_sub(1);
    let (Some(service), Some((reason, handler))) =
        (SERVICES.get(index), Table::<M>::ROWS.get(index))
    else {
        v.count(ExitReason::RtasUnknown);
        return call.answer(PARAMETER);
    };
    v.count(*reason);
    if (call.inputs, call.outputs) == (service.inputs, service.outputs) {
        handler(v, ctx, &call)
    } else {
        call.answer(PARAMETER)
    }
}

fn accept<M>(v: &Vcpu<M>, address: u64) -> Option<(u32, Call)> {
    let head = v.shared.memory.view(Gpa(address), 4 * HEAD_WORDS).ok()?;
    let (token, inputs, outputs) = (head.read_be32(0), head.read_be32(4), head.read_be32(8));
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    if inputs > ARGS || outputs > ARGS {
        return None;
    }
    let words = HEAD_WORDS + inputs + outputs;
    let buffer = v.shared.memory.view(Gpa(address), 4 * words).ok()?;
    Some((token, Call { buffer, inputs, outputs }))
}

/// ibm,os-term(string): the guest's panic. Linux may hand over no string; the line that it has
/// just printed then stands in.
fn os_term<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let address = call.input(0);
    let mut byte = [0];
    for i in 0..anchorite_spec::epitaph::TEXT_BYTES as u64 {
        let Ok(view) = v.shared.memory.view(Gpa(u64::from(address) + i), 1) else { break };
        view.read(0, &mut byte);
        if address == 0 || byte[0] == 0 {
            break;
        }
        v.last_words.push(&byte);
    }
    if v.last_words.as_bytes().is_empty() {
        let mut line = [0; 256];
        match v.shared.console.lock().last_line_with(b"Kernel panic", &mut line) {
            Some(len) => v.last_words.push(&line[..len]),
            None => v.last_words.push(b"the guest gave no text"),
        }
    }
    Action::End(End::GuestPanic)
}

/// display-character(character).
fn display_character<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let byte = [call.input(0) as u8];
    let mut tail = v.shared.console.lock();
    if !v.machine.console_write(&byte) {
        return call.answer(BUSY);
    }
    tail.push(&byte);
    call.answer(SUCCESS)
}

/// get-time-of-day: status, year, month, day, hour, minute, second, nanosecond.
fn get_time_of_day<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let Some(now) = v.machine.clock() else { return call.answer(HARDWARE) };
    let fields = [now.year, now.month, now.day, now.hour, now.minute, now.second, now.nanosecond];
    for (n, field) in fields.into_iter().enumerate() {
        call.set_output(n + 1, field);
    }
    call.answer(SUCCESS)
}

/// set-time-of-day(year, month, day, hour, minute, second, nanosecond).
fn set_time_of_day<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let [year, month, day, hour, minute, second, nanosecond] =
        [0, 1, 2, 3, 4, 5, 6].map(|n| call.input(n));
    let now = DateTime { year, month, day, hour, minute, second, nanosecond };
    if !now.is_valid() {
        return call.answer(PARAMETER);
    }
    call.answer(if v.machine.set_clock(now) { SUCCESS } else { HARDWARE })
}

/// ibm,get-system-parameter(parameter, buffer, length): none is kept; "not supported" is what the
/// call says of one that it does not have.
fn get_system_parameter<M: Power9>(_: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    call.answer(PARAMETER)
}

/// start-cpu(server, address, r3): the CPU begins there in 64-bit real mode.
fn start_cpu<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let [server, entry, argument] = [0, 1, 2].map(|n| u64::from(call.input(n)));
    let Some(target) = v.shared.server(server) else { return call.answer(PARAMETER) };
    if !entry.is_multiple_of(4) || v.shared.memory.translate(Gpa(entry), 4).is_err() {
        return call.answer(PARAMETER);
    }
    call.answer(if v.start(target, entry, argument) { SUCCESS } else { HARDWARE })
}

/// stop-self: returns only when no CPU would be left; otherwise the CPU goes on where start-cpu
/// sends it.
fn stop_self<M: Power9>(v: &mut Vcpu<M>, ctx: &mut GuestContext, _: &Call) -> Action {
    if !v.stop() {
        v.last_words.push(b"the guest stopped its last CPU");
        return Action::End(End::GuestPanic);
    }
    v.await_start(ctx);
    Action::Begin
}

/// query-cpu-stopped-state(server): status, state.
fn query_cpu_stopped_state<M: Power9>(
    v: &mut Vcpu<M>,
    _: &mut GuestContext,
    call: &Call,
) -> Action {
    const STOPPED: u32 = 0;
    const NOT_STOPPED: u32 = 2;
    let Some(target) = v.shared.server(call.input(0).into()) else {
        return call.answer(PARAMETER);
    };
    let stopped = v.shared.states.lock()[target] == State::Stopped;
    call.set_output(1, if stopped { STOPPED } else { NOT_STOPPED });
    call.answer(SUCCESS)
}

/// Routines for non-maskable interrupts lie in the guest's first 32 MiB (LoPAR 7.3.14).
const NMI_ROUTINES_END: u64 = 32 << 20;

/// ibm,nmi-register(system reset routine, machine check routine): see [`super::nmi`].
fn nmi_register<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let [system_reset, machine_check] = [0, 1].map(|n| u64::from(call.input(n)));
    for routine in [system_reset, machine_check] {
        let in_ram = v.shared.memory.translate(Gpa(routine), 4).is_ok();
        if routine >= NMI_ROUTINES_END || !routine.is_multiple_of(4) || !in_ram {
            return call.answer(PARAMETER);
        }
    }
    let routines = Routines { system_reset, machine_check };
    call.answer(if v.shared.nmi.lock().register(routines) { SUCCESS } else { HARDWARE })
}

/// ibm,nmi-interlock: Linux also calls it when this CPU holds no error log, and wants success then.
fn nmi_interlock<M: Power9>(v: &mut Vcpu<M>, _: &mut GuestContext, call: &Call) -> Action {
    let mut nmi = v.shared.nmi.lock();
    if nmi.routines().is_none() {
        return call.answer(PARAMETER);
    }
    nmi.release(v.index);
    call.answer(SUCCESS)
}

#[cfg(test)]
mod tests {
    use anchorite_spec::rtas as token;

    use super::super::fake::{Fake, RAM, hcall, vcpu, vcpu_of};
    use super::*;

    const AT: u64 = RAM.0 + 0x100;

    /// Makes one call with its arguments at [`AT`]; returns what follows and the outputs.
    fn call(v: &mut Vcpu<Fake>, token: u32, inputs: &[u32], outputs: usize) -> (Action, Vec<u32>) {
        let buffer = v.shared.memory.view(Gpa(AT), 256).expect("RAM");
        let head = [token, inputs.len() as u32, outputs as u32];
        for (n, word) in head.iter().chain(inputs).enumerate() {
            buffer.write_be32(4 * n, *word);
        }
        let action = serve(v, &mut hcall(&[super::super::hcall::H_RTAS, AT]));
        let first = 3 + inputs.len();
        (action, (first..first + outputs).map(|n| buffer.read_be32(4 * n)).collect())
    }

    const REFUSED: u32 = PARAMETER as u32;

    #[test]
    fn ends() {
        let mut v = vcpu();
        assert_eq!(
            call(&mut v, token::POWER_OFF, &[u32::MAX; 2], 1).0,
            Action::End(End::PoweredOff)
        );
        assert_eq!(call(&mut v, token::SYSTEM_REBOOT, &[], 1).0, Action::End(End::Rebooted));
        assert_eq!(call(&mut v, token::POWER_OFF, &[], 1), (Action::Resume, vec![REFUSED]));
    }

    #[test]
    fn a_panic_brings_its_text_or_the_console_has_it() {
        let mut v = vcpu();
        let text = RAM.0 + 0x800;
        v.shared.memory.view(Gpa(text), 32).expect("RAM").write(0, b"OS panic: oh\0rest");
        let (action, _) = call(&mut v, token::OS_TERM, &[text as u32], 1);
        assert_eq!(action, Action::End(End::GuestPanic));
        assert_eq!(v.last_words.as_bytes(), b"OS panic: oh");

        let mut v = vcpu();
        v.shared.console.lock().push(b"[ 1.0] Kernel panic - not syncing: why\r\n");
        let _ = call(&mut v, token::OS_TERM, &[0], 1);
        assert_eq!(v.last_words.as_bytes(), b"Kernel panic - not syncing: why");
    }

    #[test]
    fn the_clock_is_read_and_set() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, token::GET_TIME_OF_DAY, &[], 8).1[0], HARDWARE as u32);
        let date = [2026, 11, 22, 23, 59, 58, 7];
        assert_eq!(call(&mut v, token::SET_TIME_OF_DAY, &date, 1).1, [0]);
        assert_eq!(call(&mut v, token::GET_TIME_OF_DAY, &[], 8).1[1..], date);
        let wrong = [2026, 2, 30, 0, 0, 0, 0];
        assert_eq!(call(&mut v, token::SET_TIME_OF_DAY, &wrong, 1).1, [REFUSED]);
    }

    #[test]
    fn characters_and_parameters() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, token::DISPLAY_CHARACTER, &[0x141], 1).1, [0]);
        assert_eq!(v.machine.output, b"A");
        assert_eq!(call(&mut v, token::GET_SYSTEM_PARAMETER, &[44, 0, 4096], 1).1, [REFUSED]);
        assert_eq!(call(&mut v, 999, &[], 1).1, [REFUSED]);
    }

    #[test]
    fn routines_for_interrupts_that_nothing_masks() {
        let mut v = vcpu();
        assert_eq!(call(&mut v, token::NMI_INTERLOCK, &[], 1).1, [REFUSED], "not registered");
        let [first, second] = [RAM.0 as u32 + 0x100, RAM.0 as u32 + 0x200];
        let end = (RAM.0 + RAM.1) as u32;
        for (args, status) in [
            ([first + 2, second], REFUSED),
            ([first, second + 1], REFUSED),
            ([0, second], REFUSED),
            ([first, end], REFUSED),
            ([first, 32 << 20], REFUSED),
            ([u32::MAX, second], REFUSED),
        ] {
            assert_eq!(call(&mut v, token::NMI_REGISTER, &args, 1).1, [status], "{args:x?}");
            assert_eq!(v.shared.nmi.lock().routines(), None);
        }
        assert_eq!(call(&mut v, token::NMI_REGISTER, &[first, second], 1).1, [0]);
        let routines = Routines { system_reset: first.into(), machine_check: second.into() };
        assert_eq!(v.shared.nmi.lock().routines(), Some(routines));
        assert_eq!(call(&mut v, token::NMI_INTERLOCK, &[], 1).1, [0], "also if none is held");
    }

    #[test]
    fn cpus_start_stop_and_are_asked_after() {
        let mut v = vcpu_of(3);
        let query = |v: &mut _, server| call(v, token::QUERY_CPU_STOPPED_STATE, &[server], 2).1;
        assert_eq!(query(&mut v, 0), [0, 2]);
        assert_eq!(query(&mut v, 1), [0, 0]);
        assert_eq!(query(&mut v, 3)[0], REFUSED);
        let entry = RAM.0 as u32;
        for (args, status) in [
            ([1, entry, 9], 0),
            ([1, entry, 9], HARDWARE as u32),
            ([0, entry, 9], HARDWARE as u32),
            ([3, entry, 9], REFUSED),
            ([u32::MAX, entry, 9], REFUSED),
            ([2, entry + 2, 9], REFUSED),
            ([2, (RAM.0 + RAM.1) as u32, 9], REFUSED),
        ] {
            assert_eq!(call(&mut v, token::START_CPU, &args, 1).1, [status], "{args:x?}");
        }
        assert_eq!(v.machine.kicked, [1]);
        assert_eq!(query(&mut v, 1), [0, 2], "on its way");
        assert_eq!(query(&mut v, 2), [0, 0], "what was refused has no effect");
        assert_eq!(call(&mut v, token::STOP_SELF, &[7], 1).1, [REFUSED]);
        let shared = v.shared;
        let again = State::Starting { entry: RAM.0 + 0x40, argument: 0x1234 };
        v.machine.meanwhile = Some(Box::new(move || {
            assert_eq!(shared.states.lock()[0], State::Stopped);
            shared.states.lock()[0] = again;
        }));
        let buffer = v.shared.memory.view(Gpa(AT), 16).expect("RAM");
        [token::STOP_SELF, 0, 1]
            .iter()
            .zip([0, 4, 8])
            .for_each(|(w, at)| buffer.write_be32(at, *w));
        let mut ctx = hcall(&[super::super::hcall::H_RTAS, AT]);
        assert_eq!(serve(&mut v, &mut ctx), Action::Begin);
        assert_eq!((ctx.nip, ctx.gpr[3]), (RAM.0 + 0x40, 0x1234));
        for reason in [ExitReason::RtasStopSelf, ExitReason::RtasStartCpu] {
            assert!(v.row.count[reason.slot()] > 0);
        }
    }

    #[test]
    fn the_last_cpu_that_stops_ends_the_run() {
        let mut v = vcpu_of(2);
        let (action, _) = call(&mut v, token::STOP_SELF, &[], 1);
        assert_eq!(action, Action::End(End::GuestPanic));
        assert_eq!(v.last_words.as_bytes(), b"the guest stopped its last CPU");
    }

    #[test]
    fn buffers_outside_guest_ram_are_refused() {
        let mut v = vcpu();
        let end = RAM.0 + RAM.1;
        for address in [0, end - 8, end, 0xffff_fff8] {
            let mut ctx = hcall(&[super::super::hcall::H_RTAS, address]);
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
            assert_eq!(ctx.gpr[3] as i64, -3);
        }
        // A head that fits, with arguments that do not.
        let head = v.shared.memory.view(Gpa(end - 12), 12).expect("RAM");
        head.write_be32(0, token::POWER_OFF);
        for (inputs, outputs) in [(2, 1), (17, 0), (0, 17), (u32::MAX, u32::MAX)] {
            head.write_be32(4, inputs);
            head.write_be32(8, outputs);
            let mut ctx = hcall(&[super::super::hcall::H_RTAS, end - 12]);
            assert_eq!(serve(&mut v, &mut ctx), Action::Resume);
        }
        assert_eq!(v.row.count[ExitReason::RtasUnknown.slot()], 8);
    }
}
