//! How the indices keep the fields that the template does not name, read from
//! Elasticsearch's `_field_caps`.
//!
//! In the flow: `elasticsearch` → **`query::mapping`** → `query::matcher`, and the list of fields.

use std::collections::HashMap;

use serde::Deserialize;

use crate::query::field::{Dynamic, DynamicFields, Field, Kind};

/// Reads the reply to `_field_caps?fields=*`. A field that is kept differently
/// in several indices counts as what is easiest to find: text, then number.
///
/// # Errors
/// If it is not such a reply.
pub fn dynamic_fields(reply: &[u8]) -> serde_json::Result<DynamicFields> {
    #[derive(Deserialize)]
    struct Reply {
        fields: HashMap<String, HashMap<String, serde::de::IgnoredAny>>,
    }
    let reply: Reply = serde_json::from_slice(reply)?;
    let kept = |types: &HashMap<String, serde::de::IgnoredAny>| {
        [
            ("keyword", Dynamic::Text),
            ("double", Dynamic::Number),
            ("boolean", Dynamic::Boolean),
        ]
        .into_iter()
        .find_map(|(name, dynamic)| types.contains_key(name).then_some(dynamic))
    };
    let dynamic = |(path, types): (String, _)| {
        (Field::new(&path).kind == Kind::Dynamic && path != "message.raw")
            .then(|| kept(&types))
            .flatten()
            .map(|dynamic| (path, dynamic))
    };
    Ok(reply.fields.into_iter().filter_map(dynamic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_the_template_does_not_name_are_told() {
        let reply = br#"{"indices": ["a", "b"], "fields": {
            "status": {"double": {"type": "double", "searchable": true}, "unmapped": {}},
            "user": {"object": {}},
            "user.name": {"boolean": {}, "keyword": {}},
            "ok": {"boolean": {}},
            "level": {"keyword": {}},
            "metadata": {"flattened": {}},
            "message.raw": {"keyword": {}},
            "_id": {"_id": {}}
        }}"#;
        let mut fields: Vec<_> = dynamic_fields(reply).unwrap().into_iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("ok", Dynamic::Boolean),
            ("status", Dynamic::Number),
            ("user.name", Dynamic::Text),
        ]
        .map(|(path, dynamic)| (path.to_owned(), dynamic));
        assert_eq!(fields, expected);
        assert!(dynamic_fields(b"[]").is_err());
    }
}
