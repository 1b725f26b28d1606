// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What hangs on chip 0's LPC bus, reached without OPAL: the UART, the PC clock, and the service
//! processor's IPMI interface, which has the power switch.
use uart_16550::backend::Backend;
use uart_16550::spec::FIFO_SIZE;
use uart_16550::spec::registers::{LSR, MCR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};

use super::core::{load8, store8, timebase};

/// Chip 0's LPC bus: its I/O space.
const IO: u64 = 0x0006_0300_D001_0000;
/// The first UART.
const UART: u16 = 0x3F8;
/// The IPMI block transfer interface: control, then data.
const BT_CONTROL: u16 = 0xE4;
const BT_DATA: u16 = 0xE5;

/// Reads an I/O port.
#[must_use]
pub fn read_port(port: u16) -> u8 {
    // SAFETY: the bus's I/O space holds legacy devices whose registers are this platform's alone.
    unsafe { load8(IO + u64::from(port)) }
}

/// Writes an I/O port.
pub fn write_port(port: u16, value: u8) {
    // SAFETY: as above; none of them moves data by itself.
    unsafe { store8(IO + u64::from(port), value) };
}

/// The UART's registers.
struct Registers;

impl Backend for Registers {
    unsafe fn read(&mut self, register: u8) -> u8 {
        read_port(UART + u16::from(register))
    }

    unsafe fn write(&mut self, register: u8, value: u8) {
        write_port(UART + u16::from(register), value);
    }
}

/// The first UART. What was typed before the firmware looked is kept.
pub struct Uart {
    device: Uart16550<Registers>,
    /// What it takes when its transmitter is empty.
    room: usize,
    early: Early,
}

/// What the UART held before it was initialised.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Early {
    bytes: [u8; FIFO_SIZE],
    taken: u32,
    len: u32,
}

impl Uart {
    /// The UART, initialised.
    ///
    /// # Safety
    /// Only one value of this type may be in use at a time.
    #[must_use]
    pub unsafe fn start() -> Self {
        // SAFETY: all registers exist; the caller vouches for being alone.
        let mut device = unsafe { Uart16550::new_with_backend(Registers) };
        let mut early = Early::default();
        // SAFETY: the modem control register. In loopback nothing follows what is read here.
        unsafe { device.backend_mut().write(offsets::MCR as u8, MCR::LOOP_BACK.bits()) };
        early.len = device.receive_bytes(&mut early.bytes) as u32;
        // It may hold output of an earlier owner; nothing here fails that the UART could report.
        let _ = device.init(Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT });
        Self::with(device, early)
    }

    /// The UART as an earlier value left it, with what that value had not given away.
    ///
    /// # Safety
    /// As [`Self::start`].
    #[must_use]
    pub unsafe fn adopt(early: Early) -> Self {
        // SAFETY: as above.
        Self::with(unsafe { Uart16550::new_with_backend(Registers) }, early)
    }

    fn with(mut device: Uart16550<Registers>, early: Early) -> Self {
        let room = if device.isr().fifo_enabled() { FIFO_SIZE } else { 1 };
        Self { device, room, early }
    }

    /// What was typed before [`Self::start`] and has not been received yet.
    #[must_use]
    pub const fn early(&self) -> Early {
        self.early
    }

    /// Whether everything written has left the queue.
    #[inline(always)]
    pub fn is_idle(&mut self) -> bool {
        // SAFETY: the line status register. Its error flags, which the read clears, nobody asks for.
        let status = unsafe { self.device.backend_mut().read(offsets::LSR as u8) };
        status & LSR::THR_EMPTY.bits() != 0
    }

    /// Writes what the UART takes at once; returns how much.
    #[inline(always)]
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        if !self.is_idle() {
            return 0;
        }
        let count = bytes.len().min(self.room);
        for byte in &bytes[..count] {
            // SAFETY: the transmitter's queue has this much room.
            unsafe { self.device.backend_mut().write(offsets::DATA as u8, *byte) };
        }
        count
    }

    /// Reads what it has received; returns how much.
    pub fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let early = &mut self.early;
        let held = &early.bytes[early.taken as usize..early.len as usize];
        if held.is_empty() {
            return self.device.receive_bytes(buffer);
        }
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        early.taken += count as u32;
        count
    }
}

/// What IPMI's chassis control command may do.
#[derive(Clone, Copy)]
pub enum Chassis {
    /// Power off.
    PowerDown = 0,
    /// Reset.
    HardReset = 3,
}

/// Sends a chassis control command to the service processor (IPMI 2.0, 11.6 and 28.3).
pub fn chassis_control(what: Chassis) {
    const CLEAR_WRITE_POINTER: u8 = 0x01;
    const HOST_TO_SERVICE: u8 = 0x04;
    const SERVICE_BUSY: u8 = 0x40;
    /// Network function 0 (chassis), in the upper six bits.
    const CHASSIS: u8 = 0;
    const CONTROL: u8 = 2;
    const PATIENCE: u64 = 1 << 28;
    let since = timebase();
    while read_port(BT_CONTROL) & (HOST_TO_SERVICE | SERVICE_BUSY) != 0 {
        if timebase() - since > PATIENCE {
            break;
        }
    }
    write_port(BT_CONTROL, CLEAR_WRITE_POINTER);
    // Bytes that follow, network function, sequence number, command, its argument.
    for byte in [4, CHASSIS, 1, CONTROL, what as u8] {
        write_port(BT_DATA, byte);
    }
    write_port(BT_CONTROL, HOST_TO_SERVICE);
}
