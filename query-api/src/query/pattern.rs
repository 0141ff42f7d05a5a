//! Texts with wildcards: `*` stands for any characters or none, `?` for exactly one.
//!
//! In the flow: `query::parser` → **`query::pattern`** → `query::filter`, `query::matcher`.
//! Bounds what a pattern may cost Elasticsearch, which turns each into an
//! automaton and runs it over the words of the index.

use crate::query::field::lower_case;

/// The longest pattern, in characters.
pub const CHARS_MAX: usize = 256;
/// Beside a `*`, each `?` may double the automaton (Lucene gives up at 10,000 steps).
pub const ONES_BESIDE_MANY_MAX: usize = 6;
/// A pattern that begins with a wildcard is held against every word of the
/// index; with fewer characters than this it would find nearly everything.
pub const LITERALS_AFTER_LEADING_MIN: usize = 3;
/// What Lucene may spend on turning a part that is looked for anywhere into an automaton: it gives up at 100,000 steps.
const STEPS_MAX: usize = 99_000;

/// One place of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This character.
    Literal(char),
    /// Any one character: `?`.
    One,
    /// Any characters, or none: `*`.
    Many,
}

/// A text with wildcards. It has no two `*` in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    places: Vec<Place>,
}

impl Pattern {
    /// The pattern of these places.
    #[must_use]
    pub fn new(places: impl IntoIterator<Item = Place>) -> Self {
        let mut places: Vec<Place> = places.into_iter().collect();
        places.dedup_by(|next, place| *next == Place::Many && *place == Place::Many);
        Self { places }
    }

    /// Whether it is `*` alone.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.places == [Place::Many]
    }

    /// The text, if there is no wildcard in it.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let literal = |place: &Place| match place {
            Place::Literal(c) => Some(*c),
            Place::One | Place::Many => None,
        };
        self.places.iter().map(literal).collect()
    }

    /// The text before the `*`, if that is its only wildcard and stands at its end.
    #[must_use]
    pub fn as_prefix(&self) -> Option<String> {
        let (Place::Many, before) = self.places.split_last()? else {
            return None;
        };
        let before = before.to_vec();
        Self { places: before }.as_text()
    }

    /// The characters that stand for themselves.
    pub fn literals(&self) -> impl Iterator<Item = char> {
        self.places.iter().filter_map(|place| match place {
            Place::Literal(c) => Some(*c),
            Place::One | Place::Many => None,
        })
    }

    /// The same in lower case, as words and levels are kept.
    #[must_use]
    pub fn to_lower_case(&self) -> Self {
        let lower = |place: &Place| match *place {
            Place::Literal(c) => Place::Literal(lower_case(c)),
            wildcard => wildcard,
        };
        Self {
            places: self.places.iter().map(lower).collect(),
        }
    }

    /// The same anywhere in a text.
    #[must_use]
    pub fn anywhere(&self) -> Self {
        let places = self.places.iter().copied();
        Self::new(
            std::iter::once(Place::Many)
                .chain(places)
                .chain(std::iter::once(Place::Many)),
        )
    }

    /// Why Elasticsearch is not asked this; `None` if it may be.
    #[must_use]
    pub fn too_expensive(&self) -> Option<String> {
        let ones = self.places.iter().filter(|place| **place == Place::One);
        let leads = matches!(self.places.first(), Some(Place::One | Place::Many));
        if self.places.len() > CHARS_MAX {
            Some(format!("a pattern has at most {CHARS_MAX} characters"))
        } else if self.places.contains(&Place::Many) && ones.count() > ONES_BESIDE_MANY_MAX {
            Some(format!(
                "a pattern with `*` has at most {ONES_BESIDE_MANY_MAX} `?`"
            ))
        } else if leads && self.literals().count() < LITERALS_AFTER_LEADING_MIN {
            Some(format!(
                "a pattern that begins with a wildcard is held against every word there is; give it at least {LITERALS_AFTER_LEADING_MIN} other characters"
            ))
        } else if matches!(self.places.first(), Some(Place::Many))
            && repeats_too_often(&self.literals().collect::<String>())
        {
            Some("a pattern that begins with `*` may not repeat itself that often".to_owned())
        } else {
            None
        }
    }

    /// As Elasticsearch's `wildcard` query reads it.
    #[must_use]
    pub fn to_wildcard(&self) -> String {
        let mut text = String::with_capacity(self.places.len() + 8);
        for place in &self.places {
            match *place {
                Place::Literal(c) => {
                    if matches!(c, '*' | '?' | '\\') {
                        text.push('\\');
                    }
                    text.push(c);
                }
                Place::One => text.push('?'),
                Place::Many => text.push('*'),
            }
        }
        text
    }

    /// Whether it fits the whole text.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        self.fits_mapped(text, |c| c)
    }

    /// Whether it fits the whole text in lower case; it must be in lower case itself.
    #[must_use]
    pub fn fits_lower_cased(&self, text: &str) -> bool {
        self.fits_mapped(text, lower_case)
    }

    /// Each `*` takes as little as it can; where that fails the last one takes
    /// one character more. No earlier `*` needs to: what stands between the two was found as early as can be.
    fn fits_mapped(&self, text: &str, map: impl Fn(char) -> char) -> bool {
        let (mut at, mut rest) = (0, text);
        let mut last_many: Option<(usize, &str)> = None;
        loop {
            let mut after = rest.chars();
            let next = after.next().map(&map);
            match (self.places.get(at), next) {
                (Some(Place::Many), _) => {
                    last_many = Some((at + 1, rest));
                    at += 1;
                }
                (Some(Place::One), Some(_)) => (at, rest) = (at + 1, after.as_str()),
                (Some(Place::Literal(c)), Some(found)) if *c == found => {
                    (at, rest) = (at + 1, after.as_str());
                }
                (None, None) => return true,
                (_, _) => {
                    let Some((many, taken)) = last_many else {
                        return false;
                    };
                    let mut after = taken.chars();
                    if after.next().is_none() {
                        return false;
                    }
                    last_many = Some((many, after.as_str()));
                    (at, rest) = (many, after.as_str());
                }
            }
        }
    }
}

/// A text as a pattern that fits nothing but it.
#[must_use]
pub fn literally(text: &str) -> Pattern {
    Pattern::new(text.chars().map(Place::Literal))
}

/// Whether Lucene gives up on a text that is to be found anywhere. Each state of its automaton stands for all beginnings
/// of the text that may have been read by then, and those are many where the text repeats itself: `0` 315 times is too
/// often, and 1,024 different characters are not.
#[must_use]
pub fn repeats_too_often(text: &str) -> bool {
    let text = text.as_bytes();
    // Of each beginning of the text, the longest that it ends with, and how many it ends with (Knuth, Morris, Pratt).
    let mut longest = vec![0; text.len() + 1];
    let mut count = vec![0; text.len() + 1];
    let mut steps = 0;
    for end in 1..=text.len() {
        let byte = text[end - 1];
        let mut length = longest[end - 1];
        while length > 0 && text[length] != byte {
            length = longest[length];
        }
        longest[end] = if end > 1 && text[length] == byte {
            length + 1
        } else {
            0
        };
        count[end] = 1 + count[longest[end]];
        // Once before the text was found, and once after it.
        steps += 2 * (1 + count[end]);
    }
    steps > STEPS_MAX
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `*` and `?` are wildcards, all else stands for itself.
    pub(crate) fn pattern(text: &str) -> Pattern {
        Pattern::new(text.chars().map(|c| match c {
            '*' => Place::Many,
            '?' => Place::One,
            c => Place::Literal(c),
        }))
    }

    fn fits_naively(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, text) => text.is_none(),
            (Some(('*', rest)), _) => {
                (0..=text.len()).any(|taken| fits_naively(rest, &text[taken..]))
            }
            (Some(('?', rest)), Some((_, after))) => fits_naively(rest, after),
            (Some((c, rest)), Some((found, after))) => c == found && fits_naively(rest, after),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_a_search_of_all_ways_finds(
            places in "[ab?*ä]{0,8}",
            text in "[abä]{0,10}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let naive = fits_naively(&chars(&places), &chars(&text));
            prop_assert_eq!(pattern(&places).fits(&text), naive);
        }
    }

    #[test]
    fn a_pattern_is_spelled_so_that_only_its_wildcards_are_wild() {
        let places = "a*".chars().map(Place::Literal);
        let odd = Pattern::new(places.chain([Place::Literal('\\'), Place::Many, Place::One]));
        assert_eq!(odd.to_wildcard(), r"a\*\\*?");
        assert!(odd.fits(r"a*\x") && !odd.fits(r"ab\x"));
        assert_eq!(pattern("a**b").to_wildcard(), "a*b");
        assert_eq!(pattern("*a*").anywhere(), pattern("*a*"));
        assert_eq!(pattern("a?b").anywhere(), pattern("*a?b*"));
    }

    #[test]
    fn what_would_cost_too_much_is_refused_with_the_bound() {
        for (text, refused) in [
            ("a*", false),
            ("*abc", false),
            ("?bcd", false),
            ("*ab", true),
            ("?*", true),
            ("a*??????", false),
            ("a*???????", true),
            ("a????????", false),
        ] {
            assert_eq!(pattern(text).too_expensive().is_some(), refused, "{text}");
        }
        assert!(pattern(&"a".repeat(257)).too_expensive().is_some());
    }

    #[test]
    fn a_prefix_has_its_only_wildcard_at_its_end() {
        assert_eq!(pattern("ab*").as_prefix().as_deref(), Some("ab"));
        assert_eq!(pattern("*").as_prefix().as_deref(), Some(""));
        for other in ["ab", "a*b*", "a?*", "*b"] {
            assert_eq!(pattern(other).as_prefix(), None, "{other}");
        }
    }

    #[test]
    fn what_lucene_gives_up_on_is_known_before() {
        // The longest of each kind that Elasticsearch 8.19 took, and one more.
        let taken = |unit: &str, characters: usize| {
            let text = unit.chars().cycle().take(characters).collect::<String>();
            !repeats_too_often(&text)
        };
        for (unit, characters) in [("0", 312), ("ab ", 539), ("ä", 220), ("abcdefgh", 877)] {
            assert!(taken(unit, characters), "{unit}");
            assert!(!taken(unit, characters + 4), "{unit}");
        }
        let different: String = (0..1_024)
            .filter_map(|n| char::from_u32(0x4e00 + n))
            .collect();
        assert!(!repeats_too_often(&different));
        assert!(!repeats_too_often(""));
    }
}
