//! Finds a name that stands twice in one object, and one that Elasticsearch cannot keep.
//!
//! In the flow: part of `event`.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{EventError, Faults};

/// The names seen in one object: a list while it is short, then a set, so that
/// neither a small event pays for hashing nor a huge one for comparing.
#[derive(Default)]
pub(super) struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    /// The [`Names::mark`]s of the few: a name whose mark is missing is new.
    marks: u64,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    const FEW: usize = 24;
    /// Most events have no more, and their list never grows.
    const USUAL: usize = 8;

    #[expect(clippy::ptr_arg, reason = "a name that is not borrowed has an escape")]
    pub(super) fn check<E: serde::de::Error>(
        &self,
        name: &Cow<'_, str>,
        faults: &mut Faults,
    ) -> Result<(), E> {
        let is_among_few =
            self.marks & Self::mark(name) != 0 && self.few.iter().any(|seen| seen == name);
        if is_among_few || self.many.contains(&**name) {
            return faults.stop(EventError::DuplicateName(name.clone().into_owned()));
        }
        // Only an escape can write one (RFC 8259 §7), and a name with an escape is not borrowed.
        if matches!(name, Cow::Owned(_)) && name.contains('\0') {
            return faults.stop(EventError::NulInName(name.replace('\0', "\\u0000")));
        }
        Ok(())
    }

    /// One bit of 64, by which most names differ.
    fn mark(name: &str) -> u64 {
        let bytes = name.as_bytes();
        let [first, last] = [bytes.first(), bytes.last()].map(|byte| byte.copied().unwrap_or(0));
        let mixed = bytes.len() ^ usize::from(first) ^ (usize::from(last) << 2);
        1 << (mixed % 64)
    }

    pub(super) fn add(&mut self, name: Cow<'a, str>) {
        if self.few.len() < Self::FEW {
            if self.few.is_empty() {
                self.few.reserve(Self::USUAL);
            }
            self.marks |= Self::mark(&name);
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
    }
}
