// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Wall-clock time as calendars and as seconds, proleptic Gregorian, UTC.

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// Year, 1970 to 9999.
    pub year: u32,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, from 1.
    pub day: u32,
    /// Hour, 0 to 23.
    pub hour: u32,
    /// Minute, 0 to 59.
    pub minute: u32,
    /// Second, 0 to 59.
    pub second: u32,
    /// Nanosecond, 0 to 999,999,999.
    pub nanosecond: u32,
}

const fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = days_before(1970, 1);

/// Days from 0000-03-01 to the first of a month of year 1 or later: years that begin in March have
/// their leap day at the end, and their months have 153 days in every five.
const fn days_before(year: u32, month: u32) -> u64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    (year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5) as u64
}

impl DateTime {
    /// Whether every field is in its range.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.year >= 1970
            && self.year <= 9999
            && self.month >= 1
            && self.month <= 12
            && self.day >= 1
            && self.day <= days_in_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.nanosecond < 1_000_000_000
    }

    /// Seconds since 1970-01-01; the fields must be valid.
    #[must_use]
    pub fn to_seconds(&self) -> u64 {
        let days = days_before(self.year, self.month) + u64::from(self.day) - 1 - EPOCH;
        ((days * 24 + u64::from(self.hour)) * 60 + u64::from(self.minute)) * 60
            + u64::from(self.second)
    }

    /// The time so many seconds and nanoseconds after 1970-01-01, or `None` after year 9999.
    #[must_use]
    pub fn from_seconds(seconds: u64, nanosecond: u32) -> Option<Self> {
        let (days, rest) = (seconds / 86_400 + EPOCH, (seconds % 86_400) as u32);
        // Never too early, and a few years late at most: one in 1,500.
        let mut year = u32::try_from(days / 365).ok()?.min(10_000);
        while days_before(year, 1) > days {
            year -= 1;
        }
        if year > 9999 {
            return None;
        }
        let mut month = 12;
        while days_before(year, month) > days {
            month -= 1;
        }
        let day = (days - days_before(year, month)) as u32 + 1;
        Some(Self {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            nanosecond,
        })
    }
}

/// A wall clock that was read once and goes on by the machine's counter.
#[derive(Clone, Copy, Debug)]
pub struct CachedClock {
    seconds: u64,
    nanosecond: u32,
    at_ticks: u64,
    ticks_per_second: u64,
}

impl CachedClock {
    /// A clock that showed `now` when the counter stood at `at_ticks`.
    #[must_use]
    pub fn new(now: DateTime, at_ticks: u64, ticks_per_second: u64) -> Self {
        let nanosecond = now.nanosecond;
        Self { seconds: now.to_seconds(), nanosecond, at_ticks, ticks_per_second }
    }

    /// What the clock shows when the counter stands at `ticks`.
    #[must_use]
    pub fn at(&self, ticks: u64) -> Option<DateTime> {
        let passed = ticks.saturating_sub(self.at_ticks);
        // Exact up to 2^34 ticks a second.
        let rest = (passed % self.ticks_per_second).saturating_mul(1_000_000_000);
        let nanosecond = u64::from(self.nanosecond) + rest / self.ticks_per_second;
        let seconds = self.seconds + passed / self.ticks_per_second + nanosecond / 1_000_000_000;
        DateTime::from_seconds(seconds, (nanosecond % 1_000_000_000) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::{CachedClock, DateTime};

    fn at(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> DateTime {
        DateTime { year, month, day, hour, minute, second, nanosecond: 0 }
    }

    #[test]
    fn known_seconds() {
        assert_eq!(at(1970, 1, 1, 0, 0, 0).to_seconds(), 0);
        assert_eq!(at(2000, 2, 29, 12, 0, 0).to_seconds(), 951_825_600);
        assert_eq!(at(2038, 1, 19, 3, 14, 7).to_seconds(), 0x7fff_ffff);
    }

    #[test]
    fn seconds_and_back() {
        const END: u64 = 253_402_300_800;
        for seconds in (0..END).step_by(7_654_321).chain([END - 1]) {
            let date = DateTime::from_seconds(seconds, 5).expect("in range");
            assert!(date.is_valid());
            assert_eq!((date.to_seconds(), date.nanosecond), (seconds, 5));
        }
        assert_eq!(DateTime::from_seconds(END - 1, 0).map(|date| date.year), Some(9999));
        assert_eq!(DateTime::from_seconds(END, 0), None);
        assert_eq!(DateTime::from_seconds(u64::MAX, 0), None);
    }

    #[test]
    fn impossible_dates_are_refused() {
        assert!(!at(2023, 2, 29, 0, 0, 0).is_valid());
        assert!(at(2024, 2, 29, 0, 0, 0).is_valid());
        assert!(!at(2024, 13, 1, 0, 0, 0).is_valid());
        assert!(!at(2024, 1, 1, 24, 0, 0).is_valid());
    }

    #[test]
    fn a_cached_clock_goes_on_by_ticks() {
        let clock = CachedClock::new(at(2024, 12, 31, 23, 59, 59), 1000, 512);
        assert_eq!(clock.at(1000), Some(at(2024, 12, 31, 23, 59, 59)));
        assert_eq!(clock.at(1000 + 512), Some(at(2025, 1, 1, 0, 0, 0)));
        assert_eq!(clock.at(1000 + 256).map(|now| now.nanosecond), Some(500_000_000));
    }
}
