//! What is cut, changed, exchanged, repeated or added is seen, in pieces of any size.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// One pass phrase for all: a key takes a while.
static KEYS: LazyLock<Keys> =
    LazyLock::new(|| Keys::new(b"correct horse battery staple").expect("keys"));

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

fn opened(sealed: &[u8], piece: usize) -> Result<Vec<u8>, NotOpened> {
    let mut opener = Opener::new(&KEYS);
    let mut bytes = Vec::new();
    for piece in sealed.chunks(piece) {
        bytes.extend(opener.push(piece)?);
    }
    bytes.extend(opener.finish()?);
    Ok(bytes)
}

/// Lengths around whole chunks.
fn lengths() -> impl Strategy<Value = usize> {
    (0_usize..4, 0_usize..3).prop_map(|(chunks, more)| (chunks * CHUNK + more).saturating_sub(1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_sealed_comes_back_whatever_the_pieces(length in lengths(), into in 1_usize..150_000, out in 1_usize..150_000) {
        let bytes = plain(length);
        let mut sealer = Sealer::new(&KEYS).expect("a sealer");
        let mut sealed = Vec::new();
        for piece in bytes.chunks(into) {
            sealed.extend(sealer.push(piece).expect("sealed"));
        }
        sealed.extend(sealer.finish().expect("sealed"));
        let chunks = length.div_ceil(CHUNK).max(1);
        prop_assert_eq!(sealed.len(), HEADER + length + chunks * TAG);
        prop_assert_eq!(opened(&sealed, out), Ok(bytes));
    }

    #[test]
    fn any_changed_bit_is_seen(length in lengths(), at: usize, bit in 0_u8..8) {
        let mut sealed = seal(&KEYS, &plain(length)).expect("sealed");
        // The salt of the pass phrase would make another key, which takes long: the test below has it.
        let salt = MAGIC.len() + 1..MAGIC.len() + 1 + PHRASE_SALT;
        let at = at % sealed.len();
        prop_assume!(!salt.contains(&at));
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&KEYS, &sealed).is_err());
    }

    #[test]
    fn what_is_cut_anywhere_is_seen(length in lengths(), cut: usize) {
        let sealed = seal(&KEYS, &plain(length)).expect("sealed");
        prop_assert!(open(&KEYS, &sealed[..cut % sealed.len()]).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = open(&KEYS, &bytes);
    }
}

/// The chunks of three and a half, without their header.
fn chunks() -> (Vec<u8>, Vec<Vec<u8>>) {
    let sealed = seal(&KEYS, &plain(3 * CHUNK + 77)).expect("sealed");
    let (header, rest) = sealed.split_at(HEADER);
    let chunks = rest.chunks(CHUNK + TAG).map(<[u8]>::to_vec);
    (header.to_vec(), chunks.collect())
}

#[test]
fn chunks_in_another_order_left_out_repeated_or_of_another_object_are_seen() {
    let (header, all) = chunks();
    let (_, other) = chunks();
    let joined = |order: &[&Vec<u8>]| {
        let mut bytes = header.clone();
        order
            .iter()
            .for_each(|chunk| bytes.extend_from_slice(chunk));
        open(&KEYS, &bytes)
    };
    let [a, b, c, d] = all.as_slice() else {
        panic!("four chunks");
    };
    assert_eq!(joined(&[a, b, c, d]), Ok(plain(3 * CHUNK + 77)));
    for (order, chunk) in [
        (vec![b, a, c, d], 0),
        (vec![a, c, d], 1),
        (vec![a, b, b, c, d], 2),
        // At the boundary of a chunk nothing but the mark of the last one tells that more must follow.
        (vec![a, b, c], 2),
        (vec![a], 0),
        (vec![], 0),
        (vec![a, b, c, d, d], 3),
        (vec![a, &other[1], c, d], 1),
    ] {
        assert_eq!(joined(&order), Err(NotOpened::Changed(chunk)));
    }
}

#[test]
fn another_pass_phrase_and_another_version_are_named() {
    let sealed = seal(&KEYS, b"content").expect("sealed");
    let other = Keys::new(b"another pass phrase").expect("keys");
    assert_eq!(other.check(&sealed), Err(NotOpened::Key));
    assert_eq!(open(&other, &sealed), Err(NotOpened::Key));
    assert_eq!(KEYS.check(&sealed[..HEADER]), Ok(()));
    let mut later = sealed.clone();
    later[MAGIC.len()] = 2;
    assert_eq!(KEYS.check(&later), Err(NotOpened::Version(2)));
    let mut salted = sealed;
    salted[MAGIC.len() + 1] ^= 1;
    assert_eq!(KEYS.check(&salted), Err(NotOpened::Key));
    assert_eq!(KEYS.check(b"SQLite"), Err(NotOpened::Magic));
}

#[test]
fn two_objects_of_the_same_content_have_nothing_in_common() {
    let [one, two] = [(); 2].map(|()| seal(&KEYS, &plain(100)).expect("sealed"));
    let salts = HEADER - CHECK - OBJECT_SALT;
    assert_eq!(one[..salts], two[..salts], "one pass phrase, one slow key");
    assert!(
        one[salts..]
            .iter()
            .zip(&two[salts..])
            .filter(|(a, b)| a == b)
            .count()
            < 20
    );
}

#[test]
fn a_pass_phrase_is_trimmed_bounded_and_never_shown() {
    let keys = Keys::new(b"  a pass phrase of some length\n").expect("keys");
    assert!(!format!("{keys:?}").contains("phrase"));
    let sealed = seal(&keys, b"x").expect("sealed");
    let same = Keys::new(b"a pass phrase of some length").expect("keys");
    assert_eq!(open(&same, &sealed), Ok(b"x".to_vec()));
    for bad in [b"short".to_vec(), vec![b'x'; 5000]] {
        let why = Keys::new(&bad).expect_err("refused");
        assert!(why.contains("openssl"), "{why}");
    }
}
