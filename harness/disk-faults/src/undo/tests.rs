//! Random writes, lengths, syncs and power losses, beside a model that keeps a whole copy at each sync.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

impl Content for Vec<u8> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.get(size(at)..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (at, end) = (size(at), size(at) + bytes.len());
        self.resize(self.len().max(end), 0);
        self[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn resize(&mut self, length: u64) -> io::Result<()> {
        Vec::resize(self, size(length), 0);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize, u8),
    Resize(u64),
    Sync,
}

const LONGEST: u64 = 5 * PAGE;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..LONGEST, 0..6000_usize, 0..4_u8).prop_map(|(at, count, byte)| Step::Write(at, count, byte)),
        2 => (0..LONGEST).prop_map(Step::Resize),
        2 => Just(Step::Sync),
    ]
}

/// The file after these steps, as it was at the last sync, and what is kept of it.
fn after(steps: &[Step]) -> (Vec<u8>, Vec<u8>, Undo) {
    let (mut file, mut durable, mut undo) = (Vec::new(), Vec::new(), Undo::default());
    for step in steps {
        match step {
            Step::Write(at, count, byte) => {
                undo.before_write(&file, *at, *count as u64).expect("kept");
                if *count > 0 {
                    Content::write(&mut file, *at, &vec![*byte; *count]).expect("written");
                }
            }
            Step::Resize(length) => {
                undo.before_resize(&file, *length).expect("kept");
                Content::resize(&mut file, *length).expect("resized");
            }
            Step::Sync => {
                undo = Undo::default();
                durable.clone_from(&file);
            }
        }
    }
    (file, durable, undo)
}

/// A sector, filled up with zeros.
fn sector(file: &[u8], number: usize) -> Vec<u8> {
    let start = number * size(SECTOR);
    let mut bytes = vec![0; size(SECTOR)];
    Content::read(&file.to_vec(), start as u64, &mut bytes).expect("read");
    bytes
}

proptest! {
    // Each has a file of some pages and forty steps.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_synced_is_all_that_a_power_loss_leaves(steps in vec(step(), 0..40)) {
        let (mut file, durable, undo) = after(&steps);
        let differs = file != durable;
        let undone = undo.lose(&mut file, |_| 0).expect("undone");
        prop_assert!(file == durable);
        prop_assert!(!differs || !undo.is_empty());
        // Bytes that came back behind an end that had been cut are counted where they are not zero.
        prop_assert!(differs || undone.bytes + undone.cut == 0);
    }

    #[test]
    fn every_sector_is_that_of_the_sync_or_that_of_the_loss(steps in vec(step(), 0..40), seed: u64) {
        let (current, durable, undo) = after(&steps);
        let chance = crate::chance::Chance::new(seed, "file");
        let mut file = current.clone();
        undo.lose(&mut file, |page| chance.sectors(page)).expect("undone");
        prop_assert!(file.len() >= durable.len());
        prop_assert!(file.len() <= current.len().max(durable.len()));
        for number in 0..file.len().div_ceil(size(SECTOR)) {
            let mut now = sector(&current, number);
            let behind = file.len() - number * size(SECTOR);
            now.iter_mut().skip(behind).for_each(|byte| *byte = 0);
            let left = sector(&file, number);
            prop_assert!(left == now || left == sector(&durable, number), "sector {}", number);
        }
    }

    #[test]
    fn all_is_there_when_all_is_kept(steps in vec(step(), 0..40)) {
        let (current, durable, undo) = after(&steps);
        let mut file = current.clone();
        undo.lose(&mut file, |_| SECTORS).expect("undone");
        if undo.shortened {
            prop_assert!(file == durable);
        } else {
            // A longer end without a write behind the former one is not there yet.
            let rest = current.get(file.len()..).unwrap_or_default();
            prop_assert!(current.starts_with(&file) && rest.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_log_loses_what_was_written_behind_its_last_sync() {
    let mut file = vec![0_u8; 3 * size(PAGE)];
    let mut undo = Undo::default();
    undo.before_write(&file, 0, 100).expect("kept");
    file[..100].fill(1);
    undo = Undo::default();
    let synced = file.clone();
    undo.before_write(&file, 100, 5000).expect("kept");
    file[100..5100].fill(2);
    assert_eq!(undo.pages(), 2);
    let undone = undo.lose(&mut file, |_| 0).expect("undone");
    let expected = Undone {
        pages: 2,
        bytes: 5000,
        cut: 0,
    };
    assert_eq!((file, undone), (synced, expected));
}

#[test]
fn a_torn_page_has_its_first_sectors() {
    let mut file = vec![1_u8; size(PAGE)];
    let mut undo = Undo::default();
    undo.before_write(&file, 0, PAGE).expect("kept");
    file.fill(2);
    undo.lose(&mut file, |_| 3).expect("undone");
    let torn = [vec![2; 3 * size(SECTOR)], vec![1; 5 * size(SECTOR)]].concat();
    assert!(file == torn);
}

#[test]
fn a_file_that_was_never_synced_is_empty_again() {
    let mut file = Vec::new();
    let mut undo = Undo::default();
    undo.before_resize(&file, 10_000).expect("kept");
    Content::resize(&mut file, 10_000).expect("resized");
    undo.before_write(&file, 20, 5).expect("kept");
    Content::write(&mut file, 20, b"bytes").expect("written");
    let undone = undo.lose(&mut file, |_| 0).expect("undone");
    assert!(file.is_empty());
    assert_eq!((undone.bytes, undone.cut), (5, 10_000));
}
