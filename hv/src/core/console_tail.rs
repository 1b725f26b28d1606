// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of what the guest wrote to its console.
//!
//! A guest that dies may hand over no text, yet has usually just printed it; this keeps the last
//! bytes so that the epitaph can quote the line.

/// Bytes kept.
pub const BYTES: usize = 4096;

/// A ring of the last [`BYTES`] bytes of console output.
pub struct ConsoleTail {
    bytes: [u8; BYTES],
    written: usize,
}

impl Default for ConsoleTail {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsoleTail {
    /// An empty tail.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; BYTES], written: 0 }
    }

    /// Appends output, dropping the oldest.
    pub fn push(&mut self, output: &[u8]) {
        for byte in output {
            self.bytes[self.written % BYTES] = *byte;
            self.written = self.written.wrapping_add(1);
        }
    }

    /// Copies the last line that contains `needle`, from the needle on, into `line`; returns how
    /// many bytes it has.
    pub fn last_line_with(&self, needle: &[u8], line: &mut [u8]) -> Option<usize> {
        let held = self.written.min(BYTES);
        let first = self.written - held;
        let at = |index: usize| self.bytes[(first + index) % BYTES];
        let start = (0..=held.checked_sub(needle.len())?)
            .rev()
            .find(|start| needle.iter().enumerate().all(|(i, byte)| at(start + i) == *byte))?;
        let end = (start..held).find(|i| matches!(at(*i), b'\r' | b'\n')).unwrap_or(held);
        let len = (end - start).min(line.len());
        for (i, byte) in line[..len].iter_mut().enumerate() {
            *byte = at(start + i);
        }
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, ConsoleTail};

    #[test]
    fn finds_the_last_matching_line_across_the_wrap() {
        let mut tail = ConsoleTail::new();
        tail.push(&[b'x'; BYTES - 10]);
        tail.push(b"\nKernel panic - first\nKernel panic - second\r\nmore");
        let mut line = [0; 64];
        let len = tail.last_line_with(b"Kernel panic", &mut line).expect("there");
        assert_eq!(&line[..len], b"Kernel panic - second");
        assert_eq!(tail.last_line_with(b"absent", &mut line), None);
    }

    #[test]
    fn short_output_and_short_room() {
        let mut tail = ConsoleTail::new();
        let mut line = [0; 4];
        assert_eq!(tail.last_line_with(b"Kernel", &mut line), None);
        tail.push(b"Kernel panic");
        assert_eq!(tail.last_line_with(b"Kernel", &mut line), Some(4));
        assert_eq!(&line, b"Kern");
    }
}
