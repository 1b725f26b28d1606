// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that are handed over packed: gzip, as `Image.gz`, and Linux's EFI zboot, a small EFI
//! program with the packed kernel behind it (Linux, drivers/firmware/efi/libstub/zboot-header.S).
//!
//! What a packed file unpacks to is only a claim until it is unpacked, so a limit goes in.
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Why a packed kernel cannot be used.
#[derive(Debug)]
pub enum UnpackError {
    /// The packed bytes are damaged or cut off.
    Damaged(&'static str, io::Error),
    /// It unpacks to more than the limit.
    TooLarge(u64),
    /// An EFI zboot file whose payload lies outside it.
    ZbootCut,
    /// An EFI zboot file that is packed in a way that is not known here.
    Zboot(String),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(how, error) => write!(f, "its {how} content is damaged: {error}"),
            Self::TooLarge(most) => write!(f, "it unpacks to more than {most} bytes"),
            Self::ZbootCut => write!(f, "it is cut off: its packed kernel lies beyond its end"),
            Self::Zboot(how) => write!(f, "its kernel is packed with {how}"),
        }
    }
}

/// A kernel as it runs: unpacked if it is packed, at most `most` bytes.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(bytes: &[u8], most: u64) -> Result<Cow<'_, [u8]>, UnpackError> {
    if bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg") {
        return zboot(bytes, most).map(Cow::Owned);
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return read("gzip", MultiGzDecoder::new(bytes), most).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(bytes))
}

fn zboot(bytes: &[u8], most: u64) -> Result<Vec<u8>, UnpackError> {
    let word = |at: usize| {
        let field = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(field)).ok()
    };
    let payload = word(8).zip(word(12)).and_then(|(at, size)| bytes.get(at..at.checked_add(size)?));
    let (Some(payload), Some(name)) = (payload, bytes.get(24..56)) else {
        return Err(UnpackError::ZbootCut);
    };
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if name == b"gzip" {
        return read("gzip", MultiGzDecoder::new(payload), most);
    }
    if name.starts_with(b"zstd") {
        // The frame may be followed by its size.
        let decoder = zstd::Decoder::with_buffer(payload);
        let decoder = decoder.map_err(|error| UnpackError::Damaged("zstd", error))?;
        return read("zstd", decoder.single_frame(), most);
    }
    Err(UnpackError::Zboot(String::from_utf8_lossy(name).escape_default().to_string()))
}

fn read(how: &'static str, source: impl Read, most: u64) -> Result<Vec<u8>, UnpackError> {
    let mut unpacked = Vec::new();
    let taken = source.take(most.saturating_add(1)).read_to_end(&mut unpacked);
    taken.map_err(|error| UnpackError::Damaged(how, error))?;
    if unpacked.len() as u64 > most {
        return Err(UnpackError::TooLarge(most));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::{UnpackError, unpack};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zboot(how: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..2].copy_from_slice(b"MZ");
        file[4..8].copy_from_slice(b"zimg");
        file[8..12].copy_from_slice(&64u32.to_le_bytes());
        file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file[24..24 + how.len()].copy_from_slice(how);
        file.extend_from_slice(payload);
        file
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let kernel: Vec<u8> = (0..50_000u32).map(|i| ((i * i) >> 9) as u8).collect();
        let zstd = [zstd::encode_all(&kernel[..], 3).unwrap(), vec![0x50, 0xc3, 0, 0]].concat();
        for file in
            [kernel.clone(), gzip(&kernel), zboot(b"gzip", &gzip(&kernel)), zboot(b"zstd22", &zstd)]
        {
            assert!(unpack(&file, 50_000).unwrap() == kernel);
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = gzip(&vec![0; 4 << 20]);
        assert!(bomb.len() < 32 << 10);
        assert!(matches!(unpack(&bomb, 1 << 20), Err(UnpackError::TooLarge(0x10_0000))));
        let zstd = zstd::encode_all(&[0; 4 << 20][..], 3).unwrap();
        let zstd = unpack(&zboot(b"zstd22", &zstd), 1 << 20).map(|_| ());
        assert!(matches!(zstd, Err(UnpackError::TooLarge(_))));
    }

    #[test]
    fn damage_is_told() {
        let whole = gzip(&[7; 5000]);
        for cut in 2..whole.len() {
            let error = unpack(&whole[..cut], 1 << 20).unwrap_err();
            assert!(matches!(error, UnpackError::Damaged("gzip", _)), "{cut}");
        }
        let mut changed = whole.clone();
        let checksum = whole.len() - 8;
        changed[checksum] ^= 1;
        assert!(matches!(unpack(&changed, 1 << 20), Err(UnpackError::Damaged("gzip", _))));
        let cut = zboot(b"gzip", &whole);
        assert!(matches!(unpack(&cut[..80], 1 << 20), Err(UnpackError::ZbootCut)));
        assert!(matches!(unpack(&cut[..20], 1 << 20), Err(UnpackError::ZbootCut)));
        let other = unpack(&zboot(b"lz4", &whole), 1 << 20).unwrap_err();
        assert_eq!(other.to_string(), "its kernel is packed with lz4");
    }
}
