//! Splits a text into the words that the index keeps of it.
//!
//! In the flow: a document in memory → **`words`** → the matcher of the live tail.
//! Not here: which part a code point plays (`classes`), which sequences of parts are a word (`rules`).
//!
//! The index is made by the analyzer `{"type": "standard", "max_token_length": 8191}` of Elasticsearch 8 and
//! OpenSearch 2: Lucene 9's `StandardTokenizer`, then its `LowerCaseFilter`. The tokenizer is a grammar
//! (`StandardTokenizerImpl.jflex`) of which the longest match wins: [UAX #29] but that an ideograph or hiragana is
//! a word by itself, a run of South-East Asian script is one word, an emoji is a word, and a connector without a
//! letter, number or katakana is none. Where the two differ otherwise, the grammar is followed, since a live tail
//! that disagrees with the index is wrong whoever is right.
//!
//! [UAX #29]: https://www.unicode.org/reports/tr29/tr29-35.html

use std::borrow::Cow;

mod classes;
mod rules;

use crate::query::field::lower_case;
use classes::{ASCII, Class, class_of};
use rules::{Emoji, Flag, Keycap, Rule, Word, is_picture};

/// No word is longer, in UTF-16 code units before lower-casing: `max_token_length` of the index template.
/// What is longer goes on as another word.
const WORD_UNITS_MAX: usize = 8_191;

/// As many bytes of UTF-8 hold every text of [`WORD_UNITS_MAX`] units.
const WORD_BYTES_MAX: usize = 3 * WORD_UNITS_MAX;

/// The words of `text` in their order, lower-cased; words that repeat are repeated.
///
/// The `n`-th of them is what the index keeps at position `n` of the text, so a phrase is consecutive words.
/// A word that is lower case already is borrowed. Takes time linear in the text, whatever the text.
pub fn words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    Words {
        text,
        at: 0,
        connectors_until: 0,
    }
    .map(in_lower_case)
}

/// The words of a text as they are written.
struct Words<'t> {
    text: &'t str,
    /// Where the next word is looked for, in bytes.
    at: usize,
    /// No connector before this byte begins a word. Without it, a text of `_` alone takes quadratic time.
    connectors_until: usize,
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let (class, length) = class_at(self.text, self.at)?;
            let rest = &self.text[self.at..];
            let is_barren = class == Class::Connector && self.at < self.connectors_until;
            let end = if class == Class::Other || is_barren {
                0
            } else {
                plain_end(rest).unwrap_or_else(|| word_end(rest, class))
            };
            if end > 0 {
                self.at += end;
                return Some(&rest[..end]);
            }
            match class {
                Class::Connector if !is_barren => {
                    self.connectors_until = self.barren_until(
                        |class| class == Class::Connector || class.is_mark(),
                        |class| Word::Nothing.then(class).is_some_and(Word::is_whole),
                    );
                    self.at += length;
                }
                Class::Joiner => {
                    self.at = self.barren_until(|class| class == Class::Joiner, is_picture);
                }
                _ => self.at += length,
            }
        }
    }
}

impl Words<'_> {
    /// The first byte after `at` from which a prefix of parts `is_prefix` can lead to a word.
    ///
    /// That is where the prefix ends. When the part behind it `is_root` of a word and only too far away, it is
    /// where the prefix is short enough for both to fit into a word.
    fn barren_until(
        &self,
        is_prefix: impl Fn(Class) -> bool,
        is_root: impl Fn(Class) -> bool,
    ) -> usize {
        let rest = &self.text[self.at..];
        let prefix_end = rest.find(|c| !is_prefix(class_of(c))).unwrap_or(rest.len());
        let mut start = prefix_end;
        if let Some(root) = rest[prefix_end..].chars().next()
            && is_root(class_of(root))
        {
            let mut units = root.len_utf16();
            for c in rest[..prefix_end].chars().rev() {
                units += c.len_utf16();
                if units > WORD_UNITS_MAX {
                    break;
                }
                start -= c.len_utf8();
            }
        }
        self.at + start
    }
}

/// As [`word_end`], for the words that most of a log is made of: ASCII letters and digits, then a space or such.
/// `None` when the rules have to be asked.
fn plain_end(rest: &str) -> Option<usize> {
    // One byte more than a word may have, so that a longer one is seen to be longer.
    let bytes = rest.as_bytes();
    let bytes = &bytes[..bytes.len().min(WORD_UNITS_MAX + 1)];
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(bytes.len());
    let ends_there = bytes
        .get(end)
        .is_none_or(|byte| ASCII.get(usize::from(*byte)) == Some(&Class::Other));
    (ends_there && (1..=WORD_UNITS_MAX).contains(&end)).then_some(end)
}

/// Where the word ends that `rest` begins with, in bytes: 0 when it begins with none.
/// `class` is what the first code point is.
fn word_end(rest: &str, class: Class) -> usize {
    // The rules read no farther than a word may reach, so that no text takes quadratic time.
    let near = &rest[..rest.floor_char_boundary(WORD_BYTES_MAX)];
    let end = longest_end(near, class);
    // Bytes are never fewer than units.
    if end > WORD_UNITS_MAX {
        longest_end(&near[..units_end(near)], class)
    } else {
        end
    }
}

/// How many bytes of `text` are at most [`WORD_UNITS_MAX`] units. A code point is not cut in two.
fn units_end(text: &str) -> usize {
    let mut units = 0;
    text.find(|c: char| {
        units += c.len_utf16();
        units > WORD_UNITS_MAX
    })
    .unwrap_or(text.len())
}

/// The longest match of the rules that can begin with `class`.
fn longest_end(text: &str, class: Class) -> usize {
    match class {
        Class::Letter | Class::Hebrew | Class::Number | Class::Katakana | Class::Connector => {
            end_of(text, Word::Nothing)
        }
        Class::Digit => end_of(text, Word::Nothing).max(end_of(text, Keycap::Nothing)),
        Class::KeycapBase => end_of(text, Keycap::Nothing),
        Class::LetterPicture => end_of(text, Word::Nothing).max(end_of(text, Emoji::Nothing)),
        Class::Picture | Class::Modifier | Class::Joiner => end_of(text, Emoji::Nothing),
        Class::Flag => end_of(text, Flag::Nothing),
        Class::Asian | Class::AsianMark => {
            run_end(text, |class| class == Class::Asian || class.is_mark())
        }
        Class::Ideograph => {
            let first = text.chars().next().map_or(0, char::len_utf8);
            first + run_end(&text[first..], Class::is_mark)
        }
        Class::MidLetter
        | Class::MidNumber
        | Class::MidBoth
        | Class::Apostrophe
        | Class::Quote
        | Class::Mark
        | Class::Keycap
        | Class::TextStyle
        | Class::EmojiStyle
        | Class::Tag
        | Class::TagEnd
        | Class::Other => 0,
    }
}

/// The longest beginning of `text` that is a word by the rule of `state`.
fn end_of<R: Rule>(text: &str, mut state: R) -> usize {
    let (mut at, mut end) = (0, 0);
    while let Some((class, length)) = class_at(text, at)
        && let Some(next) = state.then(class)
    {
        state = next;
        at += length;
        if state.is_whole() {
            end = at;
        }
    }
    end
}

/// How many bytes of `text` play parts that `is_in`.
fn run_end(text: &str, is_in: impl Fn(Class) -> bool) -> usize {
    text.find(|c| !is_in(class_of(c))).unwrap_or(text.len())
}

/// What the code point at byte `at` is, and its length in bytes; `None` at the end.
fn class_at(text: &str, at: usize) -> Option<(Class, usize)> {
    let byte = *text.as_bytes().get(at)?;
    match ASCII.get(usize::from(byte)) {
        Some(class) => Some((*class, 1)),
        None => text[at..]
            .chars()
            .next()
            .map(|c| (class_of(c), c.len_utf8())),
    }
}

/// `word` with each code point replaced by its simple lower case, as Java's `Character.toLowerCase(int)` does it.
fn in_lower_case(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(word.to_ascii_lowercase())
        } else {
            Cow::Borrowed(word)
        };
    }
    if word.chars().all(|c| lower_case(c) == c) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(word.chars().map(lower_case).collect())
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;
