//! Pure: fields of a protobuf message of which only the beginning may be there.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// As much of it as is there.
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, up to its end or to what cannot be read.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            // The tenth byte has one bit of a number.
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> &'a [u8] {
        let there = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at(there.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length))
            }
            1 | 5 => {
                let length = if key & 7 == 1 { 8 } else { 4 };
                self.bytes(length);
                Value::Other
            }
            _ => return None,
        };
        (key >> 3 > 0).then_some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_up_to_where_the_message_was_cut_off() {
        let message = [
            0x08, 0x96, 0x01, 0x25, 1, 2, 3, 4, 0x12, 0x05, b'a', b'b', b'c', b'd', b'e',
        ];
        let all: Vec<_> = Fields::of(&message).collect();
        assert_eq!(
            all,
            [
                (1, Value::Number(150)),
                (4, Value::Other),
                (2, Value::Bytes(b"abcde"))
            ]
        );
        let cut: Vec<_> = Fields::of(&message[..12]).collect();
        assert_eq!(cut.last(), Some(&(2, Value::Bytes(b"ab"))));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
