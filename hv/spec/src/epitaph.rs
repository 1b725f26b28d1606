// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's last words: one record at a fixed place, written before anything that can fail.
//!
//! `anchorite run` takes its exit code from here, never from the console, which the guest owns.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of a written [`Epitaph`].
pub const MAGIC: [u8; 8] = *b"EPITAPH\x01";
/// How much text an epitaph holds, in bytes.
pub const TEXT_BYTES: usize = 1024;

/// Nothing has ended yet: the state that the builder leaves.
pub const STATE_NONE: u32 = 0;
/// The record is being written; only `end` can be trusted.
pub const STATE_WRITING: u32 = 1;
/// The record is complete.
pub const STATE_COMPLETE: u32 = 2;
/// The record is complete, and the firmware has faulted once more while it died.
pub const STATE_DOUBLE: u32 = 3;

/// How a run ends. The names are what `@end status=` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum End {
    /// The guest asked for power-off.
    PoweredOff = 1,
    /// The guest asked for a reboot.
    Rebooted = 2,
    /// The guest reported its own panic.
    GuestPanic = 3,
    /// A policy of the board config stopped the guest.
    PolicyStop = 4,
    /// The firmware found itself in a state that it cannot explain.
    FirmwareFault = 5,
    /// The machine is not the one that the image was built for.
    BoardMismatch = 6,
    /// The image does not match its own digests.
    ImageRefused = 7,
    /// The guest was restarted as often as the config allows.
    RestartBudget = 8,
    /// A watchdog of the guest's own expired.
    Watchdog = 9,
    /// The firmware's watchdog has seen no sign of life.
    Silence = 10,
}

impl End {
    /// Every way to end.
    pub const ALL: [End; 10] = [
        End::PoweredOff,
        End::Rebooted,
        End::GuestPanic,
        End::PolicyStop,
        End::FirmwareFault,
        End::BoardMismatch,
        End::ImageRefused,
        End::RestartBudget,
        End::Watchdog,
        End::Silence,
    ];

    /// The end that this number stands for.
    #[must_use]
    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|end| *end as u32 == value)
    }

    /// The word that `@end status=` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            End::PoweredOff => "powered-off",
            End::Rebooted => "rebooted",
            End::GuestPanic => "guest-panic",
            End::PolicyStop => "policy-stop",
            End::FirmwareFault => "firmware-fault",
            End::BoardMismatch => "board-mismatch",
            End::ImageRefused => "image-refused",
            End::RestartBudget => "restart-budget",
            End::Watchdog => "watchdog",
            End::Silence => "silence",
        }
    }

    /// The exit code of `anchorite run`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            End::PoweredOff | End::Rebooted => 0,
            End::GuestPanic => 10,
            End::PolicyStop => 11,
            End::FirmwareFault => 12,
            End::BoardMismatch => 13,
            End::ImageRefused => 14,
            End::RestartBudget => 15,
            End::Watchdog | End::Silence => 16,
        }
    }
}

/// The record. `magic` and `end` are written first, `state` last.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Epitaph {
    /// [`MAGIC`], or zero while the machine runs.
    pub magic: [u8; 8],
    /// An [`End`] as a number.
    pub end: u32,
    /// One of the `STATE_*` numbers.
    pub state: u32,
    /// The vCPU that wrote it.
    pub cpu: u32,
    /// The [`crate::ExitReason`] being served, as its slot number.
    pub reason: u32,
    /// The exception vector (POWER9) or exception class (arm64) being served.
    pub vector: u64,
    /// All exits of all vCPUs until then.
    pub exits: u64,
    /// Program counter: the guest's, or the firmware's for [`End::FirmwareFault`].
    pub pc: u64,
    /// Machine state (MSR, SPSR) that belongs to `pc`.
    pub msr: u64,
    /// Faulting address, where the vector defines one.
    pub fault_address: u64,
    /// Fault cause (DSISR, HDSISR, ESR), where the vector defines one.
    pub fault_cause: u64,
    /// Link register.
    pub link: u64,
    /// Stack pointer.
    pub stack: u64,
    /// General-purpose registers as far as they were saved; others are 0.
    pub gpr: [u64; 32],
    /// Length of the text in bytes.
    pub text_len: u64,
    /// A message: the guest's panic text, the assert, the mismatch. UTF-8, or what the guest gave.
    pub text: [u8; TEXT_BYTES],
}

impl Epitaph {
    /// The record of a machine that still runs.
    pub const EMPTY: Self = Self {
        magic: [0; 8],
        end: 0,
        state: STATE_NONE,
        cpu: 0,
        reason: 0,
        vector: 0,
        exits: 0,
        pc: 0,
        msr: 0,
        fault_address: 0,
        fault_cause: 0,
        link: 0,
        stack: 0,
        gpr: [0; 32],
        text_len: 0,
        text: [0; TEXT_BYTES],
    };

    /// Whether all of it was written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.magic == MAGIC && matches!(self.state, STATE_COMPLETE | STATE_DOUBLE)
    }

    /// The message as bytes.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        let len = usize::try_from(self.text_len).unwrap_or(usize::MAX).min(TEXT_BYTES);
        &self.text[..len]
    }
}
