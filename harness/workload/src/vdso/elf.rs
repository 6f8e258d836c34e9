//! Where a function is in the image of a shared library. Pure.

use std::ops::Range;

/// Type of the section that has the symbols of a library (`SHT_DYNSYM`).
const DYNAMIC_SYMBOLS: u32 = 11;
/// Size of a symbol.
const SYMBOL: usize = 24;

/// Offsets in an image of 64 bits, little-endian, whose addresses begin at 0, as those of the kernel do.
pub(super) fn function(image: &[u8], name: &str) -> Option<Range<usize>> {
    let sections = Sections::of(image)?;
    let table = sections
        .all()
        .find(|section| section.kind == DYNAMIC_SYMBOLS)?;
    let names = sections.at(table.names)?;
    let names = image.get(names.bytes)?;
    let mut symbols = image.get(table.bytes)?.chunks_exact(SYMBOL);
    let symbol = symbols.find(|symbol| named(names, symbol) == Some(name.as_bytes()))?;
    let start = number(symbol, 8, 8)?;
    let end = start.checked_add(number(symbol, 16, 8)?)?;
    (start < end && end <= image.len()).then_some(start..end)
}

/// The name of a symbol.
fn named<'a>(names: &'a [u8], symbol: &[u8]) -> Option<&'a [u8]> {
    let name = names.get(number(symbol, 0, 4)?..)?;
    name.split(|byte| *byte == 0).next()
}

/// The table of sections.
struct Sections<'a> {
    image: &'a [u8],
    start: usize,
    size: usize,
    count: usize,
}

struct Section {
    kind: u32,
    bytes: Range<usize>,
    /// Number of the section that has its names.
    names: usize,
}

impl<'a> Sections<'a> {
    fn of(image: &'a [u8]) -> Option<Self> {
        // Its magic number, 64 bits, little-endian.
        image.starts_with(b"\x7fELF\x02\x01").then_some(())?;
        Some(Self {
            image,
            start: number(image, 0x28, 8)?,
            size: number(image, 0x3a, 2)?,
            count: number(image, 0x3c, 2)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = Section> {
        (0..self.count).filter_map(|at| self.at(at))
    }

    fn at(&self, at: usize) -> Option<Section> {
        let head = self.start.checked_add(at.checked_mul(self.size)?)?;
        let head = self.image.get(head..head.checked_add(0x40)?)?;
        let start = number(head, 0x18, 8)?;
        let end = start.checked_add(number(head, 0x20, 8)?)?;
        Some(Section {
            kind: u32::try_from(number(head, 4, 4)?).ok()?,
            bytes: start..end,
            names: number(head, 0x28, 4)?,
        })
    }
}

/// A number of so many bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    let mut padded = [0; 8];
    padded.get_mut(..length)?.copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(padded)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library of a header, three sections (none, symbols, names) and two symbols.
    fn library() -> Vec<u8> {
        let mut image = vec![0; 0x200];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(0x28, &0x40_u64.to_le_bytes());
        put(0x3a, &0x40_u16.to_le_bytes());
        put(0x3c, &3_u16.to_le_bytes());
        let section = |kind: u32, (start, size): (u64, u64), names: u32| {
            let mut head = [0; 0x40];
            head[4..8].copy_from_slice(&kind.to_le_bytes());
            head[0x18..0x20].copy_from_slice(&start.to_le_bytes());
            head[0x20..0x28].copy_from_slice(&size.to_le_bytes());
            head[0x28..0x2c].copy_from_slice(&names.to_le_bytes());
            head
        };
        put(0x80, &section(DYNAMIC_SYMBOLS, (0x100, 48), 2));
        put(0xc0, &section(3, (0x140, 0x20), 0));
        let symbol = |name: u32, start: u64, size: u64| {
            let mut symbol = [0; SYMBOL];
            symbol[..4].copy_from_slice(&name.to_le_bytes());
            symbol[8..16].copy_from_slice(&start.to_le_bytes());
            symbol[16..].copy_from_slice(&size.to_le_bytes());
            symbol
        };
        put(0x100, &symbol(1, 0x180, 0x20));
        put(0x118, &symbol(6, 0x1a0, 0x10));
        put(0x140, b"\0time\0__vdso_time\0");
        image
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        let image = library();
        assert_eq!(function(&image, "time"), Some(0x180..0x1a0));
        assert_eq!(function(&image, "__vdso_time"), Some(0x1a0..0x1b0));
        assert_eq!(function(&image, "__vdso"), None);
    }

    #[test]
    fn what_is_cut_off_or_no_library_has_no_function() {
        let image = library();
        for length in 0..0x1a0 {
            assert_eq!(function(&image[..length], "time"), None, "{length} bytes");
        }
        let mut other = image.clone();
        // 32 bits.
        other[4] = 1;
        assert_eq!(function(&other, "time"), None);
        let mut far = image;
        far[0x28..0x30].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(function(&far, "time"), None);
    }
}
