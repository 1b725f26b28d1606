// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `say!(…)`: a line on the console.

/// A line on the console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let _ = write!($crate::console::Console, "{}\n", format_args!($($arg)*));
    }};
}
