//! JSON that keeps the order of names and knows no name twice.
//!
//! In the flow: `judgement` → **`json`** → `grammar`.
//! A request is judged as this, and what is sent on is written from this, so that Elasticsearch
//! cannot read it in another way than it was judged. Order matters: hits are sorted by the first
//! name of a `sort` first, and aggregations are answered in the order in which they were asked for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Number;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; whole ones beyond 64 bits become the nearest double.
    Number(Number),
    /// A text.
    Text(String),
    /// Values in their order.
    Array(Vec<Json>),
    /// Names and values in their order, no name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value, with nothing after it.
    ///
    /// # Errors
    /// What is wrong and where: no JSON, a name that stands twice, or nested deeper than `serde_json` reads (128).
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// As text on one line.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("names are texts, and numbers are finite")
    }

    /// The value of a name; `None` in anything but an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Whether it holds no other value.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// A number that is whole and not negative, also written as a text of digits, as Elasticsearch reads it, too.
    #[must_use]
    pub fn as_whole(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            Self::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Json::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut members: Vec<(String, Json)> = Vec::new();
                while let Some(member) = entries.next_entry()? {
                    members.push(member);
                }
                let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                match names.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(A::Error::custom(format_args!(
                        "the name `{}` stands twice in one object",
                        pair[0]
                    ))),
                    None => Ok(Json::Object(members)),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    array.serialize_element(item)?;
                }
                array.end()
            }
            Self::Object(members) => {
                let mut object = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    object.serialize_entry(name, value)?;
                }
                object.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read_in_its_order() {
        for text in [
            r#"{"b":1,"a":{"_doc":[true,null,-2,1.5,"x\u0000\"é"]},"":{}}"#,
            "[18446744073709551615,-9223372036854775808,0.1]",
            "3",
        ] {
            assert_eq!(Json::read(text.as_bytes()).unwrap().write(), text);
        }
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_not_read() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"[{"a":{"b":1,"c":1,"b":1}}]"#,
            r#"{"a":1,"\u0061":2}"#,
            "{} {}",
            "{/**/}",
            "{'a':1}",
            "{\"a\":1,}",
            "\"\\ud800\"",
            "NaN",
            "",
        ] {
            assert!(Json::read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Json::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_whole_number_may_be_a_text_of_digits() {
        for (text, expected) in [
            ("10", Some(10)),
            ("\"10\"", Some(10)),
            ("-1", None),
            ("1.5", None),
            ("\"\"", None),
            ("\"1 \"", None),
            ("null", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Json::read(text.as_bytes()).unwrap().as_whole(), expected);
        }
    }
}
