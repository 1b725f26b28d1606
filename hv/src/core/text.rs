// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text that the firmware makes. It is made seldom, and what makes it stands in memory always: a few
//! small functions instead of `core::fmt`.
use anchorite_spec::epitaph::TEXT_BYTES;

/// The column from which on a line is broken at a gap: few items are longer than what is left to 80.
const COLUMNS: usize = 54;
/// Bytes of a whole report.
pub const PAGE_BYTES: usize = 3072;

/// Text in a place of its own; what does not fit is left out.
pub struct Written<B: ?Sized> {
    len: usize,
    /// Where the line begins.
    line: usize,
    bytes: B,
}

/// Text of any size.
pub type Out = Written<[u8]>;
/// A line or two.
pub type Text = Written<[u8; TEXT_BYTES]>;
/// A whole report.
pub type Page = Written<[u8; PAGE_BYTES]>;

impl<const N: usize> Default for Written<[u8; N]> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Written<[u8; N]> {
    /// No text.
    #[must_use]
    pub const fn new() -> Self {
        Self { len: 0, line: 0, bytes: [0; N] }
    }

    /// The same, of any size.
    pub const fn out(&mut self) -> &mut Out {
        self
    }

    /// See [`Out::f`].
    #[inline]
    pub fn f(&mut self, format: &str, texts: &[&str], numbers: &[u64]) {
        self.out().f(format, texts, numbers);
    }

    /// See [`Out::push`].
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.out().push(bytes);
    }

    /// The text, and zeros behind it if it was never longer.
    #[must_use]
    pub const fn into_bytes(self) -> [u8; N] {
        self.bytes
    }

    /// Forgets it.
    pub const fn clear(&mut self) {
        (self.len, self.line) = (0, 0);
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl Out {
    /// Text in which `%s` stands for the next text, `%d`, `%x` and `%p` for the next number: decimal,
    /// hexadecimal with and without `0x`, `%h` for all of its digits. A line may be broken at a tab,
    /// which is a blank otherwise.
    #[inline(never)]
    pub fn f(&mut self, format: &str, texts: &[&str], numbers: &[u64]) {
        let (mut texts, mut numbers) = (texts.iter(), numbers.iter());
        let mut after_percent = false;
        for byte in format.bytes() {
            if core::mem::replace(&mut after_percent, byte == b'%') {
                if byte == b's' {
                    self.push(texts.next().unwrap_or(&"").as_bytes());
                    continue;
                }
                if byte == b'x' {
                    self.push(b"0x");
                }
                let base = if byte == b'd' { 10 } else { 16 };
                let least = if byte == b'h' { 16 } else { 1 };
                self.number(*numbers.next().unwrap_or(&0), base, least);
            } else if byte != b'%' {
                self.put(byte);
            }
        }
    }

    /// These bytes.
    #[inline(never)]
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        // What does not fit is left out.
        self.len += room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    }

    /// What was written. It is empty again.
    #[must_use]
    pub fn take(&mut self) -> &[u8] {
        self.line = 0;
        let len = core::mem::take(&mut self.len);
        self.bytes.get(..len).unwrap_or(&[])
    }

    #[inline(never)]
    fn put(&mut self, byte: u8) {
        match byte {
            b'\t' if self.len.saturating_sub(self.line) < COLUMNS => self.push(b" "),
            b'\t' | b'\n' => {
                self.push(b"\r\n");
                self.line = self.len;
            }
            byte => self.push(&[byte]),
        }
    }

    /// A number with at least so many digits.
    #[inline(never)]
    fn number(&mut self, value: u64, base: u64, least: u32) {
        if value >= base || least > 1 {
            self.number(value / base, base, least.saturating_sub(1));
        }
        let digit = (value % base) as u8;
        self.push(&[digit + if digit < 10 { b'0' } else { b'a' - 10 }]);
    }
}

/// Of the loader, which has `core::fmt` and is not there when the guest runs, and of panics.
impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Out)) -> String {
        let mut page = Page::new();
        write(page.out());
        String::from_utf8(page.out().take().to_vec()).expect("text")
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 1, 9, 10, 15, 16, 255, 256, 0xfff_ffff, u64::MAX / 2, u64::MAX] {
            let text = written(|page| {
                page.f("%x %d %p %s %h\n", &["a %d b"], &[value; 4]);
            });
            assert_eq!(text, format!("{value:#x} {value} {value:x} a %d b {value:016x}\r\n"));
        }
    }

    #[test]
    fn lines_are_broken_at_tabs() {
        let words = written(|page| {
            (0..30).for_each(|n| page.f("\tword%d", &[], &[n]));
            page.f("\n", &[], &[]);
        });
        assert!(words.lines().all(|line| line.len() <= 80), "{words}");
        assert_eq!(words.split_whitespace().count(), 30);
        assert!(words.split("\r\n").all(|line| !line.contains(['\r', '\n', '\t'])));
        let long = written(|page| page.f("%s\n", &[&"a b ".repeat(100)], &[]));
        assert_eq!(long.lines().count(), 1);
    }

    #[test]
    fn a_full_page_takes_no_more() {
        let text = written(|page| (0..2000).for_each(|_| page.f("words\t\n", &[], &[])));
        assert_eq!(text.len(), PAGE_BYTES);
    }
}
