// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a file is that is not what was asked for: to name it says more than what it is not.

/// A file's format by its first bytes, if it is a well-known one.
#[must_use]
pub fn format(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 15] = [
        (b"\x7fELF", "an ELF"),
        (b"\x1f\x8b", "a file packed with gzip"),
        (b"\x28\xb5\x2f\xfd", "a file packed with zstd"),
        (b"\xfd7zXZ\0", "a file packed with xz"),
        (b"BZh", "a file packed with bzip2"),
        (b"\x02\x21\x4c\x18", "a file packed with lz4"),
        (b"\x04\x22\x4d\x18", "a file packed with lz4"),
        (b"\x27\x05\x19\x56", "a U-Boot uImage"),
        (b"\xd0\x0d\xfe\xed", "a device tree or a FIT"),
        (b"\x17\x08\x20\x11", "an OpenPOWER container"),
        (b"070701", "a cpio archive"),
        (b"070702", "a cpio archive"),
        (b"!<arch>\n", "a Debian package or a library"),
        (b"#!", "a script"),
        (b"hsqs", "a squashfs file system"),
    ];
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    match () {
        () if crate::image::parse_manifest(bytes).is_ok() => Some("an Anchorite image"),
        () if at(56, b"ARM\x64") => Some("an arm64 Image"),
        () if at(0x202, b"HdrS") => Some("an x86 bzImage"),
        () if at(0x438, b"\x53\xef") => Some("an ext2 file system"),
        () => STARTS.iter().find(|(magic, _)| at(0, magic)).map(|(_, name)| *name).or_else(|| {
            let text = bytes.get(..64).unwrap_or(bytes);
            let prints = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
            if bytes.starts_with(b"MZ") {
                Some("an EFI program")
            } else {
                (!text.is_empty() && text.iter().all(prints)).then_some("text")
            }
        }),
    }
}
