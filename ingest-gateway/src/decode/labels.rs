//! The labels of a stream as Prometheus and Loki write them: `{app="shop", level="error"}`.
//!
//! In the flow: part of `decode::loki`. Values are quoted as Go quotes strings (Prometheus documentation, string literals).

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// Why a text is no set of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{shown}` are no labels: {what} at character {at}; they are written {{name=\"value\", …}}"
)]
pub(super) struct NoLabels {
    shown: String,
    what: &'static str,
    at: usize,
}

/// Reads them; of two with one name the last counts.
pub(super) fn read(text: &str) -> Result<Map<String, Value>, NoLabels> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        at: 1,
    };
    reader.labels().map_err(|what| NoLabels {
        shown: text.chars().take(64).collect(),
        what,
        at: reader.at,
    })
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    at: usize,
}

impl Reader<'_> {
    fn labels(&mut self) -> Result<Map<String, Value>, &'static str> {
        let mut labels = Map::new();
        self.skip_space();
        self.expect('{', "a `{` is missing")?;
        loop {
            self.skip_space();
            if self.rest.peek() == Some(&'}') {
                self.next();
                break;
            }
            let name = self.name()?;
            self.skip_space();
            self.expect('=', "a `=` is missing")?;
            self.skip_space();
            let value = self.value()?;
            labels.insert(name, value.into());
            self.skip_space();
            match self.next() {
                Some(',') => {}
                Some('}') => break,
                _ => return Err("a `,` or `}` is missing"),
            }
        }
        self.skip_space();
        match self.rest.peek() {
            None => Ok(labels),
            Some(_) => Err("something follows the labels"),
        }
    }

    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.rest.next()
    }

    fn expect(&mut self, wanted: char, fault: &'static str) -> Result<(), &'static str> {
        match self.rest.peek() {
            Some(found) if *found == wanted => {
                self.next();
                Ok(())
            }
            _ => Err(fault),
        }
    }

    fn skip_space(&mut self) {
        while self.rest.peek().is_some_and(|c| c.is_whitespace()) {
            self.next();
        }
    }

    fn name(&mut self) -> Result<String, &'static str> {
        // Newer clients quote names that are no identifiers.
        if self.rest.peek() == Some(&'"') {
            return self.value();
        }
        let mut name = String::new();
        while let Some(c) = self
            .rest
            .peek()
            .filter(|c| c.is_alphanumeric() || "_:.".contains(**c))
        {
            name.push(*c);
            self.next();
        }
        match name.is_empty() {
            true => Err("a name is missing"),
            false => Ok(name),
        }
    }

    fn value(&mut self) -> Result<String, &'static str> {
        let quote = match self.rest.peek() {
            Some(quote @ ('"' | '`')) => *quote,
            _ => return Err("a quoted value is missing"),
        };
        self.next();
        let mut value = String::new();
        loop {
            match self.next().ok_or("a value without an end begins before")? {
                end if end == quote => return Ok(value),
                '\\' if quote == '"' => value.push(self.escaped()?),
                c => value.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, &'static str> {
        const FAULT: &str = "an escape that is none";
        let (radix, digits) = match self.next().ok_or(FAULT)? {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            c @ ('\\' | '"' | '\'') => return Ok(c),
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            first @ '0'..='3' => {
                let first = first.to_digit(8).ok_or(FAULT)?;
                return self.number(8, 2, first);
            }
            _ => return Err(FAULT),
        };
        self.number(radix, digits, 0)
    }

    fn number(&mut self, radix: u32, digits: u32, start: u32) -> Result<char, &'static str> {
        const FAULT: &str = "an escape that is none";
        let mut code = start;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(radix)).ok_or(FAULT)?;
            code = code * radix + digit;
        }
        char::from_u32(code).ok_or(FAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Map<String, Value> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        assert_eq!(read(text), Ok(expected), "{text}");
    }

    #[test]
    fn labels_are_read_as_go_quotes_them() {
        check("{}", &[]);
        check(
            r#" { app = "shop" , level="error", } "#,
            &[("app", "shop"), ("level", "error")],
        );
        check(
            r#"{a="x\"y\\z\n\t\u00e4\x41\101"}"#,
            &[("a", "x\"y\\z\n\täAA")],
        );
        check("{a=`x\\y\"`}", &[("a", "x\\y\"")]);
        check(
            r#"{"k8s.pod-name"="p",a.b:c="d"}"#,
            &[("k8s.pod-name", "p"), ("a.b:c", "d")],
        );
        check(r#"{a="1",a="2"}"#, &[("a", "2")]);
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        for (text, what) in [
            ("", "a `{` is missing at character 1"),
            ("{a}", "a `=` is missing at character 3"),
            ("{a=b}", "a quoted value is missing at character 4"),
            ("{a=\"b}", "a value without an end"),
            ("{a=\"\\q\"}", "an escape that is none at character 7"),
            ("{a=\"\\ud800\"}", "an escape that is none"),
            ("{a=\"b\"", "a `,` or `}` is missing"),
            ("{a=\"b\"} x", "something follows"),
            ("{=\"b\"}", "a name is missing at character 2"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(labels in prop::collection::btree_map("[a-z_]{1,5}", "\\PC{0,8}[\n\"\\\\]?", 0..4)) {
            let pairs: Vec<String> = labels
                .iter()
                .map(|(name, value)| {
                    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                    format!("{name}=\"{value}\"")
                })
                .collect();
            let expected = labels.into_iter().map(|(name, value)| (name, value.into())).collect();
            prop_assert_eq!(read(&format!("{{{}}}", pairs.join(", "))), Ok(expected));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}") {
            drop(read(&text));
        }
    }
}
