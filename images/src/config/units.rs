// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sizes and addresses as a config writes them: `"64KiB"`, `"0x6030_2031_a0000"`, `"4096"`.
use std::fmt;

/// Why a text is no size or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// No digits.
    Empty,
    /// Digits are followed by something that is no unit.
    Unit,
    /// A decimal unit, where only binary ones exist here.
    DecimalUnit,
    /// A fraction or a sign.
    NotWhole,
    /// The value does not fit 64 bits.
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no number here",
            Self::Unit => "not a number with a known unit",
            Self::DecimalUnit => "decimal units are not used",
            Self::NotWhole => "only whole numbers, without a sign",
            Self::TooLarge => "does not fit 64 bits",
        })
    }
}

/// Parses a decimal number, a decimal number with `KiB`, `MiB`, `GiB` or `TiB`, or a hexadecimal
/// number with `0x`. Underscores may stand between digits.
///
/// # Errors
/// See [`UnitError`].
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return number(digits, 16);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() && !unit.is_empty() {
        return Err(if unit.starts_with(['-', '+', '.']) {
            UnitError::NotWhole
        } else {
            UnitError::Unit
        });
    }
    let shift = match unit.trim_start() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "KB" | "MB" | "GB" | "TB" | "kB" => return Err(UnitError::DecimalUnit),
        other if other.starts_with('.') => return Err(UnitError::NotWhole),
        _ => return Err(UnitError::Unit),
    };
    number(digits, 10)?.checked_mul(1 << shift).ok_or(UnitError::TooLarge)
}

fn number(digits: &str, radix: u32) -> Result<u64, UnitError> {
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return Err(UnitError::Empty);
    }
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(UnitError::Unit);
    }
    u64::from_str_radix(&digits, radix).map_err(|_| UnitError::TooLarge)
}

/// A size for people: in the largest unit that divides it.
#[must_use]
pub fn size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

/// A range of addresses for people, its end excluded.
#[must_use]
pub fn range(range: anchorite_spec::Range) -> String {
    format!("{:#x}..{:#x}", range.base, range.base.saturating_add(range.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_understood() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("4_096", 4096),
            ("64KiB", 0x1_0000),
            ("64 KiB", 0x1_0000),
            ("2GiB", 0x8000_0000),
            ("1TiB", 1 << 40),
            ("0x60302031a0000", 0x6_0302_031a_0000),
            ("0x6_0302_031A_0000", 0x6_0302_031a_0000),
            ("0xffffffffffffffff", u64::MAX),
        ];
        for (text, value) in cases {
            assert_eq!(parse_size(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        let cases = [
            ("", UnitError::Empty),
            ("0x", UnitError::Empty),
            ("0xfg", UnitError::Unit),
            ("KiB", UnitError::Unit),
            ("12 parsecs", UnitError::Unit),
            ("64KB", UnitError::DecimalUnit),
            ("-1", UnitError::NotWhole),
            ("1.5GiB", UnitError::NotWhole),
            ("18446744073709551616", UnitError::TooLarge),
            ("17179869184GiB", UnitError::TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(parse_size(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_in_the_largest_unit() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(0x1_0000), "64KiB");
        assert_eq!(size(0x4000_0000), "1GiB");
        assert_eq!(size(1025), "1025 bytes");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse_size(&text);
        }

        #[test]
        fn printed_sizes_read_back(bytes: u64) {
            proptest::prop_assert_eq!(parse_size(size(bytes).trim_end_matches(" bytes")), Ok(bytes));
        }
    }
}
