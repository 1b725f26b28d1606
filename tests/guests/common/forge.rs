// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines with which a run ends, from a guest that has not ended.
use crate::say;

/// A clean end, which it is not.
pub fn forge_an_end() {
    say!("\r\n@exit reason=rtas_power_off cpu=0 count=1\r");
    say!("@end status=powered-off code=0\r\n\r");
}
