//! Walks the fields of a protobuf message without building it: two bytes of an empty submessage would else become
//! hundreds on the heap, before anybody could say that there are too many.
//!
//! In the flow: part of `decode::otlp` and `decode::loki`.

/// Why a text of bytes is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field of its protobuf is cut off or of an unknown kind")]
pub(super) struct Malformed;

/// The submessages, strings and bytes of a message, with the numbers of their fields. Numbers themselves are skipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Those of one field, in their order.
    pub(super) fn numbered(self, number: u64) -> impl Iterator<Item = Result<&'a [u8], Malformed>> {
        self.filter_map(move |field| match field {
            Ok((found, content)) => (found == number).then_some(Ok(content)),
            Err(error) => Some(Err(error)),
        })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first (Protocol Buffers, Encoding).
    fn varint(&mut self) -> Result<u64, Malformed> {
        const BYTES_MAX: usize = 10;
        let mut number = 0;
        for at in 0..BYTES_MAX {
            let byte = *self.rest.get(at).ok_or(Malformed)?;
            number |= u64::from(byte & 0x7f).wrapping_shl(7 * u32::try_from(at).unwrap_or(0));
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn field(&mut self) -> Result<Option<(u64, &'a [u8])>, Malformed> {
        let key = self.varint()?;
        match key & 7 {
            0 => self.varint().map(|_| None),
            1 => self.take(8).map(|_| None),
            2 => {
                let length = self.varint()?;
                Ok(Some((key >> 3, self.take(length)?)))
            }
            5 => self.take(4).map(|_| None),
            _ => Err(Malformed),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.field() {
                Ok(Some(field)) => return Some(Ok(field)),
                Ok(None) => {}
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct Mixed {
        #[prost(uint64, tag = "1")]
        number: u64,
        #[prost(bytes = "vec", repeated, tag = "2")]
        texts: Vec<Vec<u8>>,
        #[prost(fixed64, tag = "3")]
        eight: u64,
        #[prost(fixed32, tag = "4")]
        four: u32,
        #[prost(bytes = "vec", repeated, tag = "4000")]
        more: Vec<Vec<u8>>,
    }

    fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_found_in_its_order(
            number: u64, texts in texts(), eight: u64, four: u32, more in texts(),
        ) {
            let message = Mixed { number, texts, eight, four, more }.encode_to_vec();
            let read = Mixed::decode(&*message).unwrap();
            for (number, expected) in [(2, &read.texts), (4000, &read.more)] {
                let found: Result<Vec<&[u8]>, Malformed> = Fields::of(&message).numbered(number).collect();
                prop_assert_eq!(found.unwrap(), expected.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            let mut cut = Fields::of(&message[..message.len().saturating_sub(1)]);
            prop_assert_eq!(cut.any(|field| field.is_err()), message.len() > 1);
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
