//! The recording client's history as its command prints it: behind it stands how long it is, because the output of a
//! command in a pod may be cut off although the command succeeds.

/// What stands before the length, in the last line.
const END: &str = "end ";

/// The history without its last line.
///
/// # Errors
/// When the line is missing, or names another length: some of the history is missing.
pub(crate) fn whole(printed: &[u8]) -> Result<&[u8], String> {
    let cut = || format!("its history was cut off after {} bytes", printed.len());
    let text = printed.strip_suffix(b"\n").ok_or_else(cut)?;
    let from = text.len().saturating_sub(END.len() + 20);
    let tail = String::from_utf8_lossy(&text[from..]);
    let (_, length) = tail.rsplit_once(END).ok_or_else(cut)?;
    let length: usize = length.parse().map_err(|_| cut())?;
    let behind = format!("{END}{length}");
    match text.strip_suffix(behind.as_bytes()) {
        Some(history) if history.len() == length => Ok(history),
        _ => Err(cut()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_was_cut_off_is_told_from_a_whole_one() {
        assert_eq!(whole(b"end 0\n"), Ok(&b""[..]));
        assert_eq!(whole(b"one\ntwo\nend 8\n"), Ok(&b"one\ntwo\n"[..]));
        // A record was being written.
        assert_eq!(whole(b"one\ntwend 6\n"), Ok(&b"one\ntw"[..]));
        let printed = b"one\ntwo\nend 8\n";
        for length in 0..printed.len() {
            let cut = whole(&printed[..length]);
            assert!(cut.is_err(), "{cut:?}");
        }
        for missing in [&b"two\nend 8\n"[..], b"one\ntwo\nend x\n", b"one\ntwo\n"] {
            let told = whole(missing).expect_err("some of it is missing");
            assert!(told.contains("cut off after"), "{told}");
        }
    }
}
