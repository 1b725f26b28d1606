// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A vCPU off its thread: its interrupt context is pulled, and an interrupt that comes for it escalates
//! into an event of the thread's own queue.
//!
//! The escalation is armed while the context is still there: an interrupt that comes before the pull is
//! found in what was pulled, one that comes after it makes the event. An event may be under way to the
//! queue when the vCPU is back already, woken by something else. Armed anew with PQ = 00 the escalation
//! would make a second one; with PQ = 10 it makes none, and the one under way ends the sleep.

/// An event state buffer's PQ bits: where on its management page a load sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum EventState {
    /// 00: the next trigger is an event.
    Open = 0xc00,
    /// 01: none is.
    Off = 0xd00,
    /// 10: one was, and none is until that has ended.
    Pending = 0xe00,
}

/// A thread, off which its vCPU can be.
pub trait Thread {
    /// Whether the vCPU's interrupts escalate at all.
    fn escalates(&self) -> bool;
    /// Whether an event of the escalation may be in the thread's own queue, or on its way there. Whoever
    /// takes it out of the queue says no.
    fn under_way(&mut self) -> &mut bool;
    /// Sets the escalation's state; whether it had been triggered since it was set last, or was set to
    /// [`EventState::Pending`].
    fn set_escalation(&mut self, state: EventState) -> bool;
    /// Takes the vCPU's interrupt context off the thread; whether an interrupt for the guest is in it.
    fn pull(&mut self) -> bool;
    /// Puts it back, with what has come meanwhile.
    fn push(&mut self);
    /// Waits in the core's idle state until an interrupt for the guest or the firmware is pending.
    /// Returns at once when one is. A kick is left to take the guest out afterwards.
    fn idle(&mut self);
    /// Serves what is in the thread's own queue. A kick is left as above.
    fn serve_own_queue(&mut self);
}

/// [`Thread::idle`] with the vCPU off its thread.
pub fn idle_off_thread<T: Thread>(t: &mut T) {
    if !t.escalates() {
        return t.idle();
    }
    let state = if *t.under_way() { EventState::Pending } else { EventState::Open };
    *t.under_way() = true;
    t.set_escalation(state);
    if !t.pull() {
        t.idle();
    }
    t.push();
    if !t.set_escalation(EventState::Off) {
        *t.under_way() = false;
    }
    t.serve_own_queue();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may happen before any step of the firmware's.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Happening {
        Nothing,
        /// An interrupt for the vCPU is triggered.
        Interrupt,
        /// What is under way to the thread's own queue gets there.
        Arrival,
        /// Something that has nothing to do with the vCPU's interrupts ends a sleep.
        Timer,
    }

    /// A thread and its interrupt controller, as POWER9's and QEMU's do it.
    #[derive(Default)]
    struct Model {
        happenings: Vec<Happening>,
        /// The escalation's two bits, P and Q.
        state: (bool, bool),
        pulled: bool,
        /// Pending: on the thread, in what was pulled, at the virtual processor.
        on_thread: bool,
        in_context: bool,
        at_processor: bool,
        /// Events: on their way, and in the queue.
        sent: u32,
        queued: u32,
        timer: bool,
        under_way: bool,
        slept: u32,
        delivered: u32,
    }

    impl Model {
        fn step(&mut self) {
            match self.happenings.pop() {
                Some(Happening::Interrupt) if !self.pulled => self.on_thread = true,
                Some(Happening::Interrupt) => {
                    self.at_processor = true;
                    match self.state {
                        (false, false) => {
                            self.state = (true, false);
                            self.sent += 1;
                        }
                        (true, false) => self.state = (true, true),
                        _ => {}
                    }
                }
                Some(Happening::Arrival) => self.arrive(),
                Some(Happening::Timer) => self.timer = true,
                Some(Happening::Nothing) | None => {}
            }
            assert!(self.sent + self.queued <= 1, "doubled");
        }

        fn arrive(&mut self) {
            self.queued += std::mem::take(&mut self.sent);
        }

        /// The guest runs: it takes what is pending, and the firmware what is in its queue.
        fn guest(&mut self) {
            self.step();
            self.timer = false;
            self.serve_own_queue();
            self.delivered += u32::from(std::mem::take(&mut self.on_thread));
        }
    }

    impl Thread for Model {
        fn escalates(&self) -> bool {
            true
        }

        fn under_way(&mut self) -> &mut bool {
            &mut self.under_way
        }

        fn set_escalation(&mut self, state: EventState) -> bool {
            self.step();
            let bits = match state {
                EventState::Open => (false, false),
                EventState::Off => (false, true),
                EventState::Pending => (true, false),
            };
            std::mem::replace(&mut self.state, bits).0
        }

        fn pull(&mut self) -> bool {
            self.step();
            self.pulled = true;
            self.in_context = std::mem::take(&mut self.on_thread);
            self.in_context
        }

        fn push(&mut self) {
            self.step();
            self.pulled = false;
            let pending = [&mut self.in_context, &mut self.at_processor].map(std::mem::take);
            self.on_thread |= pending[0] || pending[1];
        }

        fn idle(&mut self) {
            self.slept += 1;
            loop {
                self.step();
                if self.queued > 0 || self.timer {
                    return;
                }
                if self.happenings.is_empty() {
                    self.arrive();
                    let pending = self.in_context || self.at_processor;
                    assert!(!pending || self.queued > 0, "asleep for ever with an interrupt");
                    return;
                }
            }
        }

        fn serve_own_queue(&mut self) {
            self.step();
            if std::mem::take(&mut self.queued) > 0 {
                self.under_way = false;
            }
        }
    }

    #[test]
    fn nothing_is_lost_or_doubled_whatever_comes_when() {
        const TRIES: u64 = if cfg!(miri) { 300 } else { 100_000 };
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let [mut slept, mut delivered] = [0_u64; 2];
        for _ in 0..TRIES {
            let mut model = Model { state: (false, true), ..Model::default() };
            for _ in 0..30 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                model.happenings.push(match random >> 32 & 7 {
                    0 | 1 => Happening::Interrupt,
                    2 => Happening::Arrival,
                    3 => Happening::Timer,
                    _ => Happening::Nothing,
                });
            }
            for _ in 0..4 {
                idle_off_thread(&mut model);
                model.guest();
            }
            model.guest();
            assert!(!model.on_thread && !model.at_processor && !model.in_context, "lost");
            slept += u64::from(model.slept);
            delivered += u64::from(model.delivered);
        }
        assert!(slept > TRIES && delivered > TRIES, "{slept} sleeps, {delivered} interrupts");
    }

    #[test]
    fn an_event_under_way_is_not_followed_by_a_second() {
        // Woken by a timer, the vCPU is back when its escalation's event has not arrived yet.
        let nothing = Happening::Nothing;
        let mut model = Model {
            happenings: vec![Happening::Timer, Happening::Interrupt, nothing, nothing],
            state: (false, true),
            ..Model::default()
        };
        idle_off_thread(&mut model);
        assert_eq!((model.sent, model.queued, model.under_way), (1, 0, true));
        model.guest();
        assert_eq!(model.delivered, 1);
        // The next sleep is armed so that an interrupt makes no second one; the first ends it.
        model.happenings = vec![Happening::Arrival, Happening::Interrupt, nothing, nothing];
        idle_off_thread(&mut model);
        assert_eq!((model.sent, model.queued, model.under_way), (0, 0, false));
        assert!(model.on_thread);
    }
}
