//! What differs between the template that Elasticsearch holds and ours.
//!
//! In the flow: `template` → **`difference`** → `command`. Pure. Elasticsearch gives settings back as texts below
//! `index`, so both sides are brought into that form first.

use std::fmt;

use serde_json::{Map, Value};

/// One place where they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The JSON path, as `template.mappings.properties.level.type`.
    pub path: String,
    /// What Elasticsearch holds there, if anything.
    pub held: Option<Value>,
    /// What ships, if anything.
    pub shipped: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let (held, shipped) = (text(&self.held), text(&self.shipped));
        write!(f, "{}: held {held}, shipped {shipped}", self.path)
    }
}

/// All places where they differ, in the order of their paths.
#[must_use]
pub fn differences(held: &Value, shipped: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let (held, shipped) = (normal(held), normal(shipped));
    compare("", Some(&held), Some(&shipped), &mut found);
    found
}

fn compare(path: &str, held: Option<&Value>, shipped: Option<&Value>, found: &mut Vec<Difference>) {
    if held == shipped {
        return;
    }
    if let (Some(Value::Object(held)), Some(Value::Object(shipped))) = (held, shipped) {
        let mut names: Vec<&String> = held.keys().chain(shipped.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let below = match path {
                "" => name.clone(),
                _ => format!("{path}.{name}"),
            };
            compare(&below, held.get(name), shipped.get(name), found);
        }
        return;
    }
    found.push(Difference {
        path: path.to_owned(),
        held: held.cloned(),
        shipped: shipped.cloned(),
    });
}

/// The template as Elasticsearch would give it back.
fn normal(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(all) = template.as_object_mut() {
        // Elasticsearch adds it empty.
        if all.get("composed_of") == Some(&Value::Array(Vec::new())) {
            all.remove("composed_of");
        }
    }
    let Some(settings) = template.pointer_mut("/template/settings") else {
        return template;
    };
    let mut flat = Map::new();
    flatten("", settings, &mut flat);
    *settings = Value::Object(flat);
    template
}

/// Settings by their full names, as texts.
fn flatten(name: &str, value: &Value, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(below) => {
            for (part, value) in below {
                let name = match name {
                    "" => part.clone(),
                    _ => format!("{name}.{part}"),
                };
                flatten(&name, value, flat);
            }
        }
        leaf => {
            let text = match leaf {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // The prefix may be left out.
            let name = match name.starts_with("index.") {
                true => name.to_owned(),
                false => format!("index.{name}"),
            };
            flat.insert(name, Value::String(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(held: &Value, shipped: &Value) -> Vec<String> {
        let differences = differences(held, shipped);
        differences.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn what_elasticsearch_gives_back_is_what_it_was_given() {
        let shipped = json!({"priority": 7, "template": {"settings": {"index.number_of_shards": 2,
            "index.mapping.total_fields.ignore_dynamic_beyond_limit": true, "index.analysis.analyzer.message.type": "standard"}}});
        let held = json!({"priority": 7, "composed_of": [], "template": {"settings": {"index": {"number_of_shards": "2",
            "mapping": {"total_fields": {"ignore_dynamic_beyond_limit": "true"}}, "analysis": {"analyzer": {"message": {"type": "standard"}}}}}}});
        assert_eq!(told(&held, &shipped), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_told_by_its_path() {
        let shipped = json!({"version": 2, "template": {"settings": {"index.number_of_shards": 2},
            "mappings": {"dynamic_templates": [1], "properties": {"level": {"type": "keyword"}, "commit": {"type": "keyword"}}}}});
        let held = json!({"version": 1, "composed_of": ["x"], "template": {"settings": {"index": {"number_of_shards": "3"}},
            "mappings": {"dynamic_templates": [1, 2], "properties": {"level": {"type": "text"}}}}});
        assert_eq!(
            told(&held, &shipped),
            [
                r#"composed_of: held ["x"], shipped -"#,
                "template.mappings.dynamic_templates: held [1,2], shipped [1]",
                r#"template.mappings.properties.commit: held -, shipped {"type":"keyword"}"#,
                r#"template.mappings.properties.level.type: held "text", shipped "keyword""#,
                r#"template.settings.index.number_of_shards: held "3", shipped "2""#,
                "version: held 1, shipped 2",
            ]
        );
    }
}
