// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hands each binary its linker script.
fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for bin in ["loader", "body"] {
        println!("cargo:rustc-link-arg-bin={bin}=-T{dir}/{bin}.ld");
        println!("cargo:rerun-if-changed={dir}/{bin}.ld");
    }
    // Where the firmware runs with translation on, what is written has pages of its own.
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let page = if arch == "powerpc64" { 256 } else { 4096 };
    println!("cargo:rustc-link-arg-bin=body=--defsym=body_page={page}");
    println!("cargo:rustc-link-arg-bins=--no-dynamic-linker");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    println!("cargo:rustc-link-arg-bins=--gc-sections");
}
