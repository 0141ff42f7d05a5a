//! The rules by which parts make a word, one code point at a time.
//!
//! In the flow: `words` → **`rules`** → `words`.
//! Not here: which part a code point plays (`classes`), how far a word reaches (`words`).
//!
//! Each is a rule of Lucene's `StandardTokenizerImpl.jflex`, written as the states in which it can be.

use super::classes::Class;

/// What has been read of a word, by one rule.
pub(super) trait Rule: Copy {
    /// What has been read with one more code point; `None` when no word begins so.
    fn then(self, class: Class) -> Option<Self>;
    /// Whether what has been read is a word, not only the beginning of one.
    fn is_whole(self) -> bool;
}

/// Words of letters, numbers and katakana, and what holds them together. By the last part, marks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    /// Connectors alone.
    Connectors,
    Letter,
    /// A Hebrew letter: a gershayim or geresh, also written `"` and `'`, may follow it.
    Hebrew,
    /// A Hebrew letter with such a sign. Not a [`Word::Letter`], as no `:` can follow it.
    HebrewSign,
    Number,
    Katakana,
    /// Connectors after something else.
    Connected,
    /// `a:`, to be followed by a letter.
    LetterMid,
    /// `א"`, to be followed by a Hebrew letter.
    HebrewQuote,
    /// `1,`, to be followed by a number.
    NumberMid,
}

impl Rule for Word {
    fn then(self, class: Class) -> Option<Self> {
        use Word::{
            Connected, Connectors, Hebrew, HebrewQuote, HebrewSign, Letter, LetterMid, Nothing,
            Number, NumberMid,
        };
        match class {
            Class::Letter | Class::LetterPicture => match self {
                Nothing | Connectors | Letter | Hebrew | HebrewSign | Number | Connected
                | LetterMid => Some(Letter),
                Word::Katakana | HebrewQuote | NumberMid => None,
            },
            Class::Hebrew => match self {
                Nothing | Connectors | Letter | Hebrew | HebrewSign | Number | Connected => {
                    Some(Hebrew)
                }
                // The letter after a `:` is taken for any letter, so that no sign can follow it.
                LetterMid => Some(Letter),
                HebrewQuote => Some(HebrewSign),
                Word::Katakana | NumberMid => None,
            },
            Class::Digit | Class::Number => match self {
                Nothing | Connectors | Letter | Hebrew | HebrewSign | Number | Connected
                | NumberMid => Some(Number),
                Word::Katakana | LetterMid | HebrewQuote => None,
            },
            Class::Katakana => match self {
                Nothing | Connectors | Word::Katakana | Connected => Some(Word::Katakana),
                Letter | Hebrew | HebrewSign | Number | LetterMid | HebrewQuote | NumberMid => None,
            },
            Class::Connector => match self {
                Nothing | Connectors => Some(Connectors),
                _ => self.is_whole().then_some(Connected),
            },
            Class::MidLetter => self.is_letter().then_some(LetterMid),
            Class::MidNumber => (self == Number).then_some(NumberMid),
            Class::MidBoth if self == Number => Some(NumberMid),
            Class::MidBoth => self.is_letter().then_some(LetterMid),
            Class::Apostrophe if self == Hebrew => Some(HebrewSign),
            Class::Apostrophe => self.then(Class::MidBoth),
            Class::Quote => (self == Hebrew).then_some(HebrewQuote),
            _ => (self != Nothing && class.is_mark()).then_some(self),
        }
    }

    fn is_whole(self) -> bool {
        match self {
            Self::Letter
            | Self::Hebrew
            | Self::HebrewSign
            | Self::Number
            | Self::Katakana
            | Self::Connected => true,
            Self::Nothing
            | Self::Connectors
            | Self::LetterMid
            | Self::HebrewQuote
            | Self::NumberMid => false,
        }
    }
}

impl Word {
    fn is_letter(self) -> bool {
        matches!(self, Self::Letter | Self::Hebrew)
    }
}

/// One emoji, or several that joiners make one: [UTS #51](https://www.unicode.org/reports/tr51/)'s `emoji_sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emoji {
    Nothing,
    /// Joiners that begin a word, to be followed by a picture.
    LeadingJoiners,
    /// A picture and marks. Tags can spell a region only behind the first picture of a word.
    Picture {
        is_first: bool,
        is_joined: bool,
    },
    /// Modifiers without a picture, and marks.
    Modifier {
        is_joined: bool,
    },
    /// A picture with its style.
    Styled {
        is_first: bool,
    },
    /// A joiner behind the style, to be followed by a picture or a modifier.
    StyledJoiner,
    /// More than one of them, to be followed by a picture.
    StyledJoiners,
    /// Tags behind the style, to be followed by their end.
    StyledTags,
    /// An emoji that nothing can follow.
    Ended,
}

impl Rule for Emoji {
    fn then(self, class: Class) -> Option<Self> {
        let is_joined = class == Class::Joiner;
        match self {
            Self::Nothing | Self::LeadingJoiners if is_picture(class) => Some(Self::Picture {
                is_first: true,
                is_joined: false,
            }),
            Self::Nothing | Self::LeadingJoiners if is_joined => Some(Self::LeadingJoiners),
            Self::Nothing | Self::StyledJoiner if class == Class::Modifier => {
                Some(Self::Modifier { is_joined: false })
            }
            Self::Picture { is_first, .. } if class.is_emoji_mark() => Some(Self::Picture {
                is_first,
                is_joined,
            }),
            Self::Picture { is_first, .. } if class == Class::EmojiStyle => {
                Some(Self::Styled { is_first })
            }
            Self::Modifier { .. } if class.is_emoji_mark() => Some(Self::Modifier { is_joined }),
            Self::Styled { .. } if is_joined => Some(Self::StyledJoiner),
            Self::StyledJoiner | Self::StyledJoiners if is_joined => Some(Self::StyledJoiners),
            Self::Picture {
                is_joined: true, ..
            }
            | Self::Modifier { is_joined: true }
            | Self::StyledJoiner
            | Self::StyledJoiners
                if is_picture(class) =>
            {
                Some(Self::Picture {
                    is_first: false,
                    is_joined: false,
                })
            }
            Self::Styled { is_first: true } | Self::StyledTags if class == Class::Tag => {
                Some(Self::StyledTags)
            }
            Self::StyledTags if class == Class::TagEnd => Some(Self::Ended),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Picture { .. } | Self::Modifier { .. } | Self::Styled { .. } | Self::Ended
        )
    }
}

/// A digit, `#` or `*` in a keycap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keycap {
    Nothing,
    Base {
        has_keycap: bool,
    },
    /// The style behind the base, to be followed by the keycap.
    Styled,
    /// The keycap behind the style, and marks.
    Ended,
}

impl Rule for Keycap {
    fn then(self, class: Class) -> Option<Self> {
        let is_keycap = class == Class::Keycap;
        match self {
            // The caller has looked at the first code point.
            Self::Nothing => Some(Self::Base { has_keycap: false }),
            Self::Base { .. } if class == Class::EmojiStyle => Some(Self::Styled),
            Self::Base { has_keycap } if class.is_emoji_mark() => Some(Self::Base {
                has_keycap: has_keycap || is_keycap,
            }),
            Self::Styled if is_keycap => Some(Self::Ended),
            Self::Ended if class.is_emoji_mark() => Some(Self::Ended),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Base { has_keycap: true } | Self::Ended)
    }
}

/// Two regional indicators and the marks behind each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Nothing,
    Half,
    Whole,
}

impl Rule for Flag {
    fn then(self, class: Class) -> Option<Self> {
        match self {
            Self::Nothing => Some(Self::Half),
            Self::Half if class == Class::Flag => Some(Self::Whole),
            Self::Half | Self::Whole => class.is_mark().then_some(self),
        }
    }

    fn is_whole(self) -> bool {
        self == Self::Whole
    }
}

pub(super) fn is_picture(class: Class) -> bool {
    matches!(class, Class::Picture | Class::LetterPicture)
}
