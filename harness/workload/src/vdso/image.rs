//! What the kernel has mapped into a process: where, and its bytes. It is the same for all processes of a machine.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

/// Its name in the list of mappings.
const NAME: &str = "[vdso]";

/// The image in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Where it is there.
    pub(super) addresses: Range<u64>,
    pub(super) bytes: Vec<u8>,
}

impl Image {
    /// Reads that of this process.
    pub(super) fn own() -> anyhow::Result<Self> {
        Self::read("self")
    }

    /// Reads that of another process.
    pub(super) fn of(process: i32) -> anyhow::Result<Self> {
        Self::read(&process.to_string())
    }

    fn read(process: &str) -> anyhow::Result<Self> {
        let maps = format!("/proc/{process}/maps");
        let mapped = fs::read_to_string(&maps).with_context(|| format!("failed to read {maps}"))?;
        let addresses = addresses(&mapped).with_context(|| format!("no {NAME} in {maps}"))?;
        let mut bytes = vec![0; usize::try_from(addresses.end - addresses.start)?];
        let memory = format!("/proc/{process}/mem");
        let read = File::open(&memory);
        let read = read.and_then(|file| file.read_exact_at(&mut bytes, addresses.start));
        read.with_context(|| format!("failed to read {NAME} in {memory}"))?;
        Ok(Self { addresses, bytes })
    }
}

/// Its addresses, of the list of mappings.
fn addresses(maps: &str) -> Option<Range<u64>> {
    let line = maps.lines().find(|line| line.ends_with(NAME))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let addresses = address(start)?..address(end)?;
    (!addresses.is_empty()).then_some(addresses)
}

/// The one process with this name.
pub(super) fn named(name: &str) -> anyhow::Result<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to read /proc")? {
        let entry = entry.context("failed to read /proc")?;
        let process: Option<i32> = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // One that has ended meanwhile has no name.
        let said = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        found.extend(process.filter(|_| said.trim_end() == name));
    }
    match found[..] {
        [process] => Ok(process),
        _ => anyhow::bail!(
            "not one process is named {name}, but {}: {found:?}",
            found.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn it_is_found_among_the_mappings() {
        let maps = "\
00400000-0105c000 r-xp 00000000 fe:00 123    /usr/local/bin/etcd
7f10cd9e5000-7f10cd9e7000 r--p 00000000 00:00 0                          [vvar_vclock]
7f10cd9e7000-7f10cd9e9000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(addresses(maps), Some(0x7f10_cd9e_7000..0x7f10_cd9e_9000));
        assert_eq!(addresses(&maps[..maps.len() - 8]), None);
        assert_eq!(addresses("x-y r-xp 0 0 0 [vdso]\n"), None);
    }

    #[test]
    fn two_processes_have_the_same_at_other_addresses() {
        let own = Image::own().expect("this process has one");
        assert!(own.bytes.starts_with(b"\x7fELF"));
        let piped = Stdio::piped;
        let child = Command::new("cat").stdin(piped()).stdout(piped()).spawn();
        let mut child = child.expect("it starts");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut input = input.expect("an input");
        // What it repeats it has run for.
        input.write_all(b"x").expect("it is written");
        let read = output.expect("an output").read_exact(&mut [0]);
        read.expect("it runs");
        let other = i32::try_from(child.id()).map(Image::of);
        drop(input);
        child.wait().expect("it ends");
        let other = other.expect("an identifier").expect("it is read");
        assert_eq!(other.bytes, own.bytes);
    }

    #[test]
    fn a_name_that_no_process_has_is_an_error() {
        let error = named("no such program").expect_err("there is none");
        assert!(error.to_string().contains("but 0"), "{error}");
    }
}
