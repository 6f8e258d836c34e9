//! Files of a container that does not run, read and written through Docker's API, which packs each into a tar archive.

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures::StreamExt;

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;

/// Bytes of a header, and what a file is filled up to.
const BLOCK: usize = 512;
/// Largest file that is read: a segment of etcd's write-ahead log has 64 MB, and may end behind that.
const LARGEST: usize = 96 << 20;
/// Who may do what with a file: root alone reads and writes data, all read a text, and all run a program.
const DATA: &str = "0000600";
const TEXT: &str = "0000644";
const PROGRAM: &str = "0000755";

impl BareCluster {
    /// A file of a container.
    pub(crate) async fn read_file(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Vec<u8>, BareError> {
        let failed = |message: String| BareError::Command {
            command: format!("read {path}"),
            container: container.to_owned(),
            message,
        };
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let mut chunks = self
            .docker()
            .download_from_container(container, Some(options));
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            archive.extend(chunk.map_err(|error| failed(error.to_string()))?);
            if archive.len() > LARGEST {
                return Err(failed(format!("it has more than {LARGEST} bytes")));
            }
        }
        unpack(&archive).map_err(failed)
    }

    /// Replaces a file of a container.
    pub(crate) async fn write_file(
        &self,
        container: &str,
        place: (&str, &str),
        bytes: &[u8],
    ) -> Result<(), BareError> {
        self.put(container, place, (DATA, bytes)).await
    }

    /// Puts a text into a container, and the folders that lead there.
    pub(crate) async fn write_text(
        &self,
        container: &str,
        place: (&str, &str),
        bytes: &[u8],
    ) -> Result<(), BareError> {
        self.put(container, place, (TEXT, bytes)).await
    }

    /// Puts a program into a container.
    pub(crate) async fn write_program(
        &self,
        container: &str,
        place: (&str, &str),
        bytes: &[u8],
    ) -> Result<(), BareError> {
        self.put(container, place, (PROGRAM, bytes)).await
    }

    /// Copies a folder of one container, with all that is in it, into a folder of another one.
    pub(crate) async fn copy_folder(
        &self,
        (from, folder): (&str, &str),
        (to, into): (&str, &str),
    ) -> Result<(), BareError> {
        let failed =
            |error| BareError::docker(format!("copy {folder} of container {from} to {to}"), error);
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(folder)
            .build();
        let mut chunks = self.docker().download_from_container(from, Some(options));
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            archive.extend(chunk.map_err(failed)?);
        }
        let options = UploadToContainerOptionsBuilder::default()
            .path(into)
            .build();
        let body = bollard::body_full(archive.into());
        let written = self.docker().upload_to_container(to, Some(options), body);
        written.await.map_err(failed)
    }

    async fn put(
        &self,
        container: &str,
        (folder, name): (&str, &str),
        (mode, bytes): (&str, &[u8]),
    ) -> Result<(), BareError> {
        let failed = |message: String| BareError::Command {
            command: format!("write {folder}/{name}"),
            container: container.to_owned(),
            message,
        };
        let options = UploadToContainerOptionsBuilder::default()
            .path(folder)
            .build();
        let body = bollard::body_full(pack(name, (mode, bytes)).map_err(failed)?.into());
        let written = self
            .docker()
            .upload_to_container(container, Some(options), body);
        written.await.map_err(|error| failed(error.to_string()))
    }
}

/// The only file of an archive.
fn unpack(archive: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = archive;
    while let Some((header, behind)) = rest.split_at_checked(BLOCK) {
        let size = header
            .get(124..136)
            .and_then(octal)
            .ok_or("the archive's header has no size")?;
        match header[156] {
            // What is said of the file that follows.
            b'x' | b'g' => {
                rest = behind
                    .get(size.next_multiple_of(BLOCK)..)
                    .unwrap_or_default()
            }
            b'0' | 0 => {
                let file = behind
                    .get(..size)
                    .ok_or("the archive ends within the file")?;
                return Ok(file.to_vec());
            }
            other => {
                return Err(format!(
                    "it is no plain file, but of kind {:?}",
                    char::from(other)
                ));
            }
        }
    }
    Err("the archive has no file".to_owned())
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// An archive of one file, which root owns.
fn pack(name: &str, (mode, bytes): (&str, &[u8])) -> Result<Vec<u8>, String> {
    let mut header = [0_u8; BLOCK];
    let fields: [(usize, &str); 7] = [
        (0, name),
        (100, mode),
        (108, "0000000"),
        (116, "0000000"),
        (124, &format!("{:011o}", bytes.len())),
        (136, "00000000000"),
        // The sum of the header counts its own place as blanks.
        (148, "        "),
    ];
    if name.len() >= 100 {
        return Err(format!("the name {name} is too long"));
    }
    for (at, text) in fields.into_iter().chain([(156, "0"), (257, "ustar\x0000")]) {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(bytes);
    // A file is filled up to a block, and two empty ones end the archive.
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_packed_is_unpacked() {
        for length in [0, 1, 511, 512, 513, 70_000] {
            let bytes = vec![7; length];
            let archive = pack("0.wal", (DATA, &bytes)).expect("an archive");
            assert_eq!(archive.len() % BLOCK, 0);
            assert_eq!(unpack(&archive), Ok(bytes));
        }
        assert!(pack(&"n".repeat(100), (DATA, b"x")).is_err());
    }

    #[test]
    fn what_is_said_of_a_file_is_passed_over_and_a_cut_archive_refused() {
        let mut archive = pack("about", (DATA, b"30 mtime=1.5\n")).expect("an archive");
        archive[156] = b'x';
        archive.truncate(2 * BLOCK);
        archive.extend(pack("0.wal", (DATA, b"bytes")).expect("an archive"));
        assert_eq!(unpack(&archive), Ok(b"bytes".to_vec()));
        for end in [0, 100, 2 * BLOCK, 3 * BLOCK] {
            assert!(unpack(&archive[..end]).is_err());
        }
        let mut folder = pack("wal", (DATA, b"")).expect("an archive");
        folder[156] = b'5';
        assert!(unpack(&folder).is_err_and(|why| why.contains('5')));
    }

    #[test]
    fn the_system_s_own_tar_takes_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.tar");
        std::fs::write(&path, pack("0.wal", (DATA, b"bytes")).expect("an archive"))
            .expect("written");
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output();
        let listed = listed.expect("tar is there");
        let said = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(
            listed.status.success() && said.contains("-rw------- ") && said.contains("0.wal"),
            "{said}"
        );
    }
}
