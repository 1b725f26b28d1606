// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The user's terminal as the guest's: every key goes to the guest, except Ctrl-A and the key after
//! it.
use std::io::{self, IsTerminal};

use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

/// What the user is told.
pub const HELP: &str = "Ctrl-A x leaves (the machine is lost), Ctrl-A Ctrl-A sends Ctrl-A";

/// Standard input, a terminal, passing keys through. Dropping it puts the terminal back.
pub struct RawTerminal {
    saved: Termios,
}

impl RawTerminal {
    /// Takes the terminal over, if standard input is one.
    ///
    /// # Errors
    ///
    /// The terminal refuses its settings.
    pub fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let saved = termios::tcgetattr(io::stdin())?;
        let mut raw = saved.clone();
        // Output processing stays: it turns our own messages' line ends into what terminals want.
        raw.input_modes -= InputModes::BRKINT
            | InputModes::ICRNL
            | InputModes::IGNCR
            | InputModes::INLCR
            | InputModes::INPCK
            | InputModes::ISTRIP
            | InputModes::IXON;
        raw.local_modes -=
            LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { saved }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done if the terminal is gone.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.saved);
    }
}

/// What the keys mean besides their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Leave.
    Leave,
    /// Say which keys there are.
    Help,
}

/// Splits typed keys into bytes for the guest and requests to us.
#[derive(Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    /// Takes what was typed; appends the guest's part to `guest`. What follows a request in the
    /// same `typed` is dropped when that request is to leave.
    pub fn split(&mut self, typed: &[u8], guest: &mut Vec<u8>) -> Option<Request> {
        let mut request = None;
        for &byte in typed {
            if !std::mem::take(&mut self.escaped) {
                if byte == ESCAPE {
                    self.escaped = true;
                } else {
                    guest.push(byte);
                }
                continue;
            }
            match byte {
                b'x' | b'X' => return Some(Request::Leave),
                ESCAPE => guest.push(ESCAPE),
                b'h' | b'?' => request = Some(Request::Help),
                // Not ours: as typed.
                _ => guest.extend([ESCAPE, byte]),
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Request};

    fn split(chunks: &[&[u8]]) -> (Vec<u8>, Option<Request>) {
        let mut keys = Keys::default();
        let mut guest = Vec::new();
        let request = chunks.iter().filter_map(|chunk| keys.split(chunk, &mut guest)).last();
        (guest, request)
    }

    #[test]
    fn control_a_is_ours_and_all_else_the_guests() {
        assert_eq!(split(&[b"ls\r\x03"]), (b"ls\r\x03".to_vec(), None));
        assert_eq!(split(&[b"a\x01xb"]), (b"a".to_vec(), Some(Request::Leave)));
        assert_eq!(split(&[b"a\x01", b"x"]), (b"a".to_vec(), Some(Request::Leave)));
        assert_eq!(split(&[b"\x01\x01"]), (vec![1], None));
        assert_eq!(split(&[b"\x01ec"]), (b"\x01ec".to_vec(), None));
        assert_eq!(split(&[b"\x01hq"]), (b"q".to_vec(), Some(Request::Help)));
    }
}
