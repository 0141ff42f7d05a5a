use std::borrow::Cow;

use proptest::prelude::*;

use super::examples::EXAMPLES;
use super::{
    Class, WORD_UNITS_MAX, Words, class_at, class_of, longest_end, plain_end, word_end, words,
};
use crate::query::field::lower_case;

/// One code point of each part at least, and some whose lower case is long or far away.
const TRICKY: &[char] = &[
    ' ',
    '-',
    '\n',
    '\0',
    'a',
    'Z',
    'İ',
    'Σ',
    'ẞ',
    '한',
    'ℹ',
    'Ⓜ',
    'א',
    '0',
    '7',
    '٣',
    '１',
    'カ',
    '_',
    '‿',
    ':',
    '·',
    ',',
    ';',
    '.',
    '’',
    '\'',
    '"',
    '漢',
    'ひ',
    'ไ',
    '\u{E31}',
    '\u{301}',
    '\u{AD}',
    '\u{200D}',
    '\u{20E3}',
    '\u{FE0E}',
    '\u{FE0F}',
    '🏽',
    '\u{E0061}',
    '\u{E007F}',
    '😀',
    '☃',
    '#',
    '*',
    '🇩',
    '𝐀',
    '𐐀',
    '\u{378}',
    '\u{10FFFF}',
];

fn tricky_text() -> impl Strategy<Value = String> {
    // Few different code points at a time: most of all sequences have no long word.
    prop::collection::vec(prop::sample::select(TRICKY), 1..6)
        .prop_flat_map(|few| prop::collection::vec(prop::sample::select(few), 0..24))
        .prop_map(|chars| chars.into_iter().collect())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![tricky_text(), any::<String>(), "[ -~]{0,40}"]
}

fn written(text: &str) -> Vec<&str> {
    Words {
        text,
        at: 0,
        connectors_until: 0,
    }
    .collect()
}

/// As [`written`], trying a word at every code point.
fn written_by_trying(text: &str) -> Vec<&str> {
    let (mut at, mut words) = (0, Vec::new());
    while let Some((class, length)) = class_at(text, at) {
        let end = word_end(&text[at..], class);
        if end > 0 {
            words.push(&text[at..at + end]);
            at += end;
        } else {
            at += length;
        }
    }
    words
}

fn units(text: &str) -> Vec<usize> {
    written(text)
        .iter()
        .map(|word| word.encode_utf16().count())
        .collect()
}

#[test]
fn each_example_has_the_words_that_the_index_keeps() {
    for (text, expected) in EXAMPLES {
        let found: Vec<_> = words(text).collect();
        assert_eq!(found, *expected, "{}", text.escape_unicode());
    }
}

#[test]
fn the_examples_have_every_part() {
    for c in TRICKY {
        let class = class_of(*c);
        let is_in = |text: &str| text.chars().any(|c| class_of(c) == class);
        assert!(EXAMPLES.iter().any(|(text, _)| is_in(text)), "{class:?}");
    }
}

#[test]
fn only_words_with_a_capital_are_copied() {
    let copied: Vec<_> = words("Failed 3 times: ÜBER über 漢字 app.log")
        .filter(|word| matches!(word, Cow::Owned(_)))
        .collect();
    assert_eq!(copied, ["failed", "über"]);
}

#[test]
fn a_word_goes_on_as_another_after_8191_units() {
    assert_eq!(units(&"a".repeat(8_191)), [8_191]);
    assert_eq!(units(&"a".repeat(8_192)), [8_191, 1]);
    assert_eq!(units(&"é".repeat(20_000)), [8_191, 8_191, 3_618]);
    assert_eq!(units(&"漢".repeat(3)), [1, 1, 1]);
}

#[test]
fn a_surrogate_pair_is_not_cut_in_two() {
    assert_eq!(units(&"𝐀".repeat(4_096)), [8_190, 2]);
    assert_eq!(units(&format!("a{}", "𝐀".repeat(4_096))), [8_191, 2]);
}

#[test]
fn what_would_hold_two_halves_together_is_lost_at_the_cut() {
    let most = "a".repeat(8_190);
    assert_eq!(units(&format!("{most}.b")), [8_190, 1]);
    let most = "a".repeat(8_189);
    assert_eq!(units(&format!("{most}.b")), [8_191]);
}

#[test]
fn connectors_and_joiners_too_far_from_what_they_begin_are_lost() {
    assert_eq!(units(&format!("{}a", "_".repeat(8_190))), [8_191]);
    assert_eq!(units(&format!("{}a", "_".repeat(30_000))), [8_191]);
    assert_eq!(units(&format!("{}😀", "\u{200D}".repeat(30_000))), [8_191]);
}

/// Were the time quadratic, this test would take minutes.
#[test]
fn long_texts_without_an_end_in_sight_have_their_words_at_once() {
    let n = 1 << 18;
    assert_eq!(words(&"_".repeat(n)).count(), 0);
    assert_eq!(words(&"_\u{301}".repeat(n)).count(), 0);
    assert_eq!(words(&"\u{200D}".repeat(n)).count(), 0);
    assert_eq!(words(&"_🏽\u{FE0F}".repeat(n)).count(), n);
    assert_eq!(words(&format!("a.{}", "\u{301}".repeat(n))).count(), 1);
    assert_eq!(words(&"a".repeat(n)).count(), n.div_ceil(WORD_UNITS_MAX));
}

/// A newer Unicode may give a letter a lower case that did not exist when the table was made. The engines' Java
/// would then have to be asked which of the two it writes.
#[test]
fn the_lower_case_of_what_is_in_a_word_is_in_a_word() {
    for c in ('\0'..=char::MAX).filter(|c| class_of(*c) != Class::Other) {
        assert_ne!(
            class_of(lower_case(c)),
            Class::Other,
            "{}",
            c.escape_unicode()
        );
    }
}

#[test]
fn only_one_letter_has_a_lower_case_of_two() {
    let long: String = ('\0'..=char::MAX)
        .filter(|c| c.to_lowercase().len() > 1)
        .collect();
    assert_eq!(long, "İ");
}

proptest! {
    #[test]
    fn words_are_pieces_of_the_text_in_order_lower_cased(text in any_text()) {
        let mut from = 0;
        let mut expected = Vec::new();
        for word in written(&text) {
            let at = text[from..].find(word);
            prop_assert!(at.is_some());
            from += at.unwrap_or_default() + word.len();
            prop_assert!(!word.is_empty());
            expected.push(word.chars().map(lower_case).collect::<String>());
        }
        prop_assert_eq!(words(&text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_that_is_in_words_alone_is_left_out(text in any_text()) {
        let always = |c: &char| matches!(
            class_of(*c),
            Class::Letter | Class::LetterPicture | Class::Hebrew | Class::Digit | Class::Number
                | Class::Katakana | Class::Ideograph | Class::Asian | Class::Picture
        );
        let in_words: Vec<_> = written(&text).concat().chars().filter(always).collect();
        prop_assert_eq!(in_words, text.chars().filter(always).collect::<Vec<_>>());
    }

    #[test]
    fn a_space_parts_words(left in any_text(), right in any_text()) {
        let both = format!("{left} {right}");
        let apart: Vec<_> = words(&left).chain(words(&right)).collect();
        prop_assert_eq!(words(&both).collect::<Vec<_>>(), apart);
    }

    #[test]
    fn skipping_what_begins_no_word_changes_nothing(text in any_text()) {
        prop_assert_eq!(written(&text), written_by_trying(&text));
    }

    #[test]
    fn a_plain_word_ends_where_the_rules_say(text in any_text()) {
        for (at, c) in text.char_indices() {
            if let Some(end) = plain_end(&text[at..]) {
                prop_assert_eq!(end, longest_end(&text[at..], class_of(c)));
            }
        }
    }
}
