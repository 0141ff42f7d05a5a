//! YAML as the values of JSON, so that all manifests are read in one way.
//!
//! In the flow: files → **`manifest`** → `compose`, `chart`, `schemas`. Pure.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// The documents of a text, without empty ones.
///
/// # Errors
/// When it is no YAML, or says what JSON cannot.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = YamlLoader::load_from_str(text)?;
    let values = documents.iter().map(value);
    let values: Vec<Value> = values.collect::<Result<_>>()?;
    Ok(values.into_iter().filter(|one| !one.is_null()).collect())
}

fn value(yaml: &Yaml) -> Result<Value> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(is) => Value::Bool(*is),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Real(text) => {
            let number: f64 = text.parse().with_context(|| format!("`{text}`"))?;
            Value::from(number)
        }
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::Array(items) => Value::Array(items.iter().map(value).collect::<Result<_>>()?),
        Yaml::Hash(entries) => {
            let mut object = Map::new();
            for (key, entry) in entries {
                let key = match key {
                    Yaml::String(key) => key.clone(),
                    Yaml::Integer(number) => number.to_string(),
                    other => bail!("`{other:?}` is no key"),
                };
                let entry = value(entry)?;
                match (key.as_str(), entry) {
                    // A merge: what stands beside it wins, whichever comes first.
                    ("<<", Value::Object(merged)) => {
                        for (key, entry) in merged {
                            object.entry(key).or_insert(entry);
                        }
                    }
                    (_, entry) => {
                        object.insert(key, entry);
                    }
                }
            }
            Value::Object(object)
        }
        Yaml::Alias(_) | Yaml::BadValue => bail!("an alias without an anchor"),
    })
}

/// The text at a path, such as `/metadata/name`; empty where there is none.
#[must_use]
pub fn text<'value>(value: &'value Value, path: &str) -> &'value str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The items of the list at a path; none where there is no list.
pub fn items<'value>(value: &'value Value, path: &str) -> impl Iterator<Item = &'value Value> {
    let list = value.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges_give_way_to_what_stands_beside_them() {
        let text = "a: &a {x: 1, y: [2, 0.5]}\nb: {<<: *a, x: three}\nc: {x: four, <<: *a}\n---\n---\nd: true\n";
        assert_eq!(
            documents(text).unwrap(),
            [
                json!({
                    "a": {"x": 1, "y": [2, 0.5]},
                    "b": {"x": "three", "y": [2, 0.5]},
                    "c": {"x": "four", "y": [2, 0.5]},
                }),
                json!({"d": true})
            ]
        );
    }
}
