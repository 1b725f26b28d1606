// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console as a byte pipe, whatever carries it.
use std::fmt::Write;
use std::time::Duration;

use anchorite_tests::Tests;
use anchorite_tests::guest::Guest;
use anchorite_tests::image::default_image;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

pub const TESTS: Tests = &[("console::64_kib_each_way_at_once", on_a_hypervisor_terminal)];

const SIZE: usize = 64 << 10;

/// Linux takes one of these on such a console as the first half of a SysRq request, and two as the
/// byte itself.
pub const SYSRQ: u8 = 0x0f;

fn on_a_hypervisor_terminal() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    both_ways_at_once(&mut guest, Some(SYSRQ))?;
    guest.power_off()?;
    Ok(())
}

/// As many bytes each way as [`SIZE`], in a shell, none of them changed. The byte `twice` is typed
/// twice each time, if there is one.
pub fn both_ways_at_once(guest: &mut Guest, twice: Option<u8>) -> Result<()> {
    guest.shell(&format!("head -c {SIZE} /dev/urandom > /tmp/out"))?;
    let sent_by_guest = guest.shell("sha256sum < /tmp/out")?;

    guest.send(
        format!(
            "stty raw -echo; echo 'g''o'; (cat /tmp/out & head -c {SIZE} > /tmp/in; wait); \
             stty sane -echo; echo 'do''ne'\n"
        )
        .as_bytes(),
    )?;
    guest.expect("go\n", Duration::from_secs(30))?;
    let ours = noise();
    let typed: Vec<u8> = ours
        .iter()
        .flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(Some(*byte) == twice)))
        .collect();
    guest.send(&typed)?;
    let theirs = guest.take(SIZE, Duration::from_secs(240))?;
    ensure!(hex(&theirs) == first_word(&sent_by_guest)?, "output was changed on its way");

    // What is typed before the guest has all would be taken for more of it.
    guest.expect("done\r\n", Duration::from_secs(240))?;
    let received_by_guest = guest.shell("sha256sum < /tmp/in")?;
    ensure!(first_word(&received_by_guest)? == hex(&ours), "input was changed on its way");
    Ok(())
}

fn first_word(text: &str) -> Result<&str> {
    text.split_whitespace().next().context("no digest")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// All byte values in no order (xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .collect()
}
