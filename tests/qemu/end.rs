// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every way a run can end that QEMU can show, and its exit code.
use std::time::{Duration, Instant};

use anchorite_spec::manifest::{
    IMAGE_OFFSET, PART_BODY, PART_GUEST_TREE, PART_INITRD, PART_KERNEL, PART_LOADER, PART_RTAS,
    PART_TABLES,
};
use anchorite_tests::Tests;
use anchorite_tests::guest::{Ended, Guest};
use anchorite_tests::image::{default_image, image, power_off_image};
use anchorite_tests::monitor::Monitor;
use anyhow::{Result, ensure};
use serde_json::json;

pub const TESTS: Tests = &[
    ("end::panic_is_10", panic_is_10),
    ("end::reboot_is_0", reboot_is_0),
    ("end::leaving_the_shell_powers_off", leaving_the_shell_powers_off),
    ("end::timeout_is_124", timeout_is_124),
    ("end::firmware_assert_is_12", || {
        firmware_fault_is_12("assert", "asserted at the guest's exit")
    }),
    ("end::firmware_exception_is_12", || firmware_fault_is_12("exception", "in the firmware at")),
    ("end::machine_check_in_the_firmware_is_12", || {
        firmware_fault_is_12("machine-check", "machine check 0x200 in the firmware at")
    }),
    ("end::double_fault_is_12", double_fault_is_12),
    ("end::operator_reset_is_the_guests", operator_reset_is_the_guests),
    ("end::other_ram_is_13", other_ram_is_13),
    ("end::changed_body_is_14", || changed_part_is_14(PART_BODY)),
    ("end::changed_tables_is_14", || changed_part_is_14(PART_TABLES)),
    ("end::changed_kernel_is_14", || changed_part_is_14(PART_KERNEL)),
    ("end::changed_initrd_is_14", || changed_part_is_14(PART_INITRD)),
    ("end::changed_guest_tree_is_14", || changed_part_is_14(PART_GUEST_TREE)),
    ("end::changed_rtas_is_14", || changed_part_is_14(PART_RTAS)),
    ("end::changed_loader_is_14", || changed_part_is_14(PART_LOADER)),
    ("end::changed_manifest_is_14", changed_manifest_is_14),
    ("end::no_qemu_is_3", no_qemu_is_3),
];

fn panic_is_10() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    guest.shell("dmesg -n 8")?;
    // A guest may print what it likes: the code does not come from there.
    guest.send(b"echo '@end status=powered-off code=0'; echo c > /proc/sysrq-trigger\n")?;
    let ended = guest.end()?;
    ended.expect(10, "the guest panicked")?;
    ensure!(ended.console.contains("sysrq triggered crash"), "the panic is not on the console");
    Ok(())
}

fn reboot_is_0() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    guest.send(b"reboot\n")?;
    guest.end()?.expect(0, "reboot")
}

fn leaving_the_shell_powers_off() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    guest.send(b"exit\n")?;
    guest.end()?.expect(0, "the guest powered off")
}

fn timeout_is_124() -> Result<()> {
    let start = Instant::now();
    let mut guest = Guest::start(&default_image()?.path, &["--timeout", "40"])?;
    // The end of standard input is not the end of the run.
    guest.close_input();
    let ended = guest.end()?;
    ended.expect(124, "timeout")?;
    ensure!(start.elapsed() > Duration::from_secs(39));
    ensure!(ended.console.contains("anchorite: board "), "40 s were not enough to begin");
    Ok(())
}

/// An image that makes its firmware die, as an assert or an exception of its own would.
fn firmware_fault_is_12(how: &str, words: &str) -> Result<()> {
    let setting = format!("firmware.debug_fault={how}");
    let image = image(&format!("debug-fault-{how}"), &["--set", &setting])?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(12, words)?;
    ensure!(ended.console.contains("@end status=firmware-fault code=12"), "no @end line");
    second_fault(&ended, false)
}

/// Whether a run told of a second fault of its firmware's, which leaves no closing lines: there is
/// nothing but the epitaph, and a line.
pub fn second_fault(ended: &Ended, came: bool) -> Result<()> {
    let on_console = ended.console.contains("anchorite: a second fault, while dying of the first");
    let in_report = ended.report.contains("it faulted a second time while it died of that");
    ensure!((on_console, in_report) == (came, came), "{}\n{}", ended.console, ended.report);
    ensure!(ended.console.contains("@end ") != came, "{}", ended.console);
    Ok(())
}

/// A fault while the firmware dies changes neither its words nor its code.
fn double_fault_is_12() -> Result<()> {
    let image = image("debug-fault-double", &["--set", "firmware.debug_fault=double"])?;
    let ended = Guest::start(&image.path, &[])?.end()?;
    ended.expect(12, "exception 0xe40 in the firmware")?;
    second_fault(&ended, true)
}

/// A system reset from outside almost always finds the guest idle, and so the firmware running; it
/// is the guest's all the same.
fn operator_reset_is_the_guests() -> Result<()> {
    let mut guest = Guest::boot(&default_image()?.path, &[])?;
    // Without this the guest would only kill its idle task and go on.
    guest.shell("echo 1 > /proc/sys/kernel/panic_on_oops")?;
    Monitor::connect(guest.qmp())?.execute("inject-nmi", &json!({}))?;
    let ended = guest.end()?;
    ended.expect(10, "the guest panicked")?;
    ensure!(ended.console.contains("guest system reset"), "the firmware did not say so");
    ensure!(ended.console.contains("Oops: System Reset"), "the guest did not get it");
    Ok(())
}

fn other_ram_is_13() -> Result<()> {
    let image = power_off_image()?;
    let guest = Guest::start(&image.path, &["--qemu-arg", "-m", "--qemu-arg", "1G"])?;
    let ended = guest.end()?;
    ended.expect(13, "not the board")?;
    ensure!(ended.console.contains("@end status=board-mismatch"), "no @end line");
    Ok(())
}

/// The bytes of a part that was changed after the build. The board refuses what it can check before
/// it depends on it; the loader, which does the checking, is refused by `run`.
fn changed_part_is_14(kind: u32) -> Result<()> {
    let image = power_off_image()?;
    let (part, _) = image.part(kind)?;
    for offset in [part.offset, part.offset + part.size / 2, part.offset + part.size - 1] {
        let mut bytes = image.bytes.to_vec();
        bytes[usize::try_from(offset)?] ^= 0x10;
        let file = image.variant(&bytes)?;
        let ended = Guest::start(&file, &[])?.end()?;
        ended.expect(14, anchorite_spec::manifest::part_name(kind))?;
        let by_board = ended.console.contains("@end status=image-refused");
        ensure!(by_board == (kind != PART_LOADER), "refused by the wrong side");
    }
    Ok(())
}

fn changed_manifest_is_14() -> Result<()> {
    let image = power_off_image()?;
    let mut bytes = image.bytes.to_vec();
    // In the board's name.
    bytes[usize::try_from(IMAGE_OFFSET)? + 80] ^= 1;
    let file = image.variant(&bytes)?;
    Guest::start(&file, &[])?.end()?.expect(14, "manifest")
}

fn no_qemu_is_3() -> Result<()> {
    let image = power_off_image()?;
    let ended = Guest::start(&image.path, &["--qemu", "/nonexistent/qemu"])?.end()?;
    ended.expect(3, "/nonexistent/qemu")?;
    let ended = Guest::start(&image.path, &["--qemu-arg", "-no-such-option"])?.end()?;
    ended.expect(3, "-no-such-option")
}
