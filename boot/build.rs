// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hands each binary its linker script.
fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for bin in ["loader", "body"] {
        println!("cargo:rustc-link-arg-bin={bin}=-T{dir}/{bin}.ld");
        println!("cargo:rerun-if-changed={dir}/{bin}.ld");
    }
    println!("cargo:rustc-link-arg-bins=--no-dynamic-linker");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    println!("cargo:rustc-link-arg-bins=--gc-sections");
}
