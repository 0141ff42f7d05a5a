//! Which letters were redriven: one bit for each record of the dead-letter topic, at most.
//!
//! In the flow: `letter` → **`marks`** → `listing`, `redrive`. Pure. Marks cluster where letters
//! do, so bits are kept in pages and only pages with a mark take memory.

use std::collections::BTreeMap;

use super::letter::Place;

/// Bits of a page.
const PAGE_BITS: i64 = 1 << 15;
const PAGE_WORDS: usize = (PAGE_BITS / 64) as usize;
/// 16,384 pages of 4 KiB are 64 MiB: half a billion records that lie together.
const PAGES_MAX: usize = 16_384;

/// The places that are marked.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    pages: BTreeMap<(i32, i64), Box<[u64; PAGE_WORDS]>>,
    n_marks: u64,
}

/// There are more marks than this process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the dead-letter topic has marks in more than {} places of {PAGE_BITS} records; delete its oldest records (kafka-delete-records.sh), which were redriven long ago",
    PAGES_MAX
)]
pub struct TooManyMarks;

impl Marks {
    /// Marks the letter at `place`. Marked twice is marked.
    ///
    /// # Errors
    /// [`TooManyMarks`] beyond half a billion records.
    pub fn insert(&mut self, place: Place) -> Result<(), TooManyMarks> {
        let (page, word, bit) = address(place);
        if self.pages.len() >= PAGES_MAX && !self.pages.contains_key(&page) {
            return Err(TooManyMarks);
        }
        let words = self
            .pages
            .entry(page)
            .or_insert_with(|| Box::new([0; PAGE_WORDS]));
        self.n_marks += u64::from(words[word] & bit == 0);
        words[word] |= bit;
        Ok(())
    }

    /// Whether the letter at `place` is marked.
    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        let (page, word, bit) = address(place);
        let words = self.pages.get(&page);
        words.is_some_and(|words| words[word] & bit != 0)
    }

    /// How many letters are marked.
    #[must_use]
    pub fn n_marks(&self) -> u64 {
        self.n_marks
    }
}

fn address(place: Place) -> ((i32, i64), usize, u64) {
    let page = place.offset.div_euclid(PAGE_BITS);
    let within = place.offset.rem_euclid(PAGE_BITS);
    let word = usize::try_from(within / 64).expect("within a page");
    ((place.partition, page), word, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(places in prop::collection::vec((0..3, 0..200_000i64), 0..200)) {
            let place = |(partition, offset): (i32, i64)| Place { partition, offset };
            let set: BTreeSet<Place> = places.iter().copied().map(place).collect();
            let mut marks = Marks::default();
            set.iter().chain(&set).for_each(|place| marks.insert(*place).unwrap());
            prop_assert_eq!(marks.n_marks(), set.len() as u64);
            for (partition, offset) in places {
                for near in [offset - 1, offset, offset + 1] {
                    let near = place((partition, near.max(0)));
                    prop_assert_eq!(marks.contains(near), set.contains(&near));
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_the_refusal_says_what_to_do() {
        let mut marks = Marks::default();
        let place = |n: usize| Place {
            partition: 0,
            offset: n as i64 * PAGE_BITS,
        };
        (0..PAGES_MAX).for_each(|n| marks.insert(place(n)).unwrap());
        assert_eq!(marks.insert(place(7)), Ok(()));
        let error = marks.insert(place(PAGES_MAX)).unwrap_err().to_string();
        assert!(error.contains("kafka-delete-records"), "{error}");
    }
}
