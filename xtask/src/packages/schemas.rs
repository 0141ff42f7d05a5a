//! JSON schemas of what Kubernetes takes, where kubeconform finds them.
//!
//! In the flow: `tools` → **`schemas`** → kubeconform. Those of Kubernetes itself come from a Python package, and refer
//! to each other by addresses in the web; what KEDA and the Prometheus operator add is described in their
//! `CustomResourceDefinition`s. Both are written anew here.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::manifest::{documents, items, text};

/// Writes the schemas of a version of Kubernetes into `directory`, with no room for fields that they do not name, as
/// `KIND-GROUP-VERSION.json` in lower case. `programs` are those of the Python environment that has them.
///
/// # Errors
/// When they are not where they were, or cannot be read.
pub fn write_kubernetes(programs: &Path, version: &str, directory: &Path) -> Result<()> {
    let libraries = programs.with_file_name("lib");
    let folder = format!("kubernetes_validate/kubernetes-json-schema/v{version}-local-strict");
    let sources = fs::read_dir(&libraries)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages").join(&folder)))
        .find(|folder| folder.is_dir())
        .with_context(|| format!("there is no `{folder}` below `{}`", libraries.display()))?;
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(&sources)? {
        let path = entry?.path();
        let schema = fs::read_to_string(&path)?;
        let name = path.file_name().context("a file without a name")?;
        fs::write(directory.join(name), at_home(&schema)?)
            .with_context(|| format!("`{}`", path.display()))?;
    }
    Ok(())
}

/// A schema that finds the definitions beside itself, and not in the web.
fn at_home(schema: &str) -> Result<String> {
    let schema = schema.replace("\"/api/_definitions.json", "\"_definitions.json");
    let mut schema: Value = serde_json::from_str(&schema)?;
    if let Some(parts) = schema.as_object_mut() {
        parts.remove("$id");
    }
    Ok(schema.to_string())
}

/// Writes the schema of every kind that the definitions in `sources` describe into `directory`, as
/// `KIND-GROUP-VERSION.json` in lower case.
///
/// # Errors
/// When there are none, or one cannot be read.
pub fn write_added(sources: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut written = 0;
    let entries =
        fs::read_dir(sources).with_context(|| format!("cannot read `{}`", sources.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        for definition in documents(&text).with_context(|| format!("`{}`", path.display()))? {
            for (name, schema) in of_definition(&definition) {
                fs::write(directory.join(name), schema.to_string())?;
                written += 1;
            }
        }
    }
    ensure!(written > 0, "`{}` describes no kind", sources.display());
    Ok(())
}

/// The schemas of a definition's versions, each with the name of its file.
fn of_definition(definition: &Value) -> Vec<(String, Value)> {
    let kind = text(definition, "/spec/names/kind");
    // The first part of it, as kubeconform asks for it.
    let group = text(definition, "/spec/group")
        .split('.')
        .next()
        .unwrap_or_default();
    let versions = items(definition, "/spec/versions").filter_map(|version| {
        let name = format!("{kind}-{group}-{}.json", text(version, "/name"));
        let schema = version.pointer("/schema/openAPIV3Schema")?;
        Some((name.to_lowercase(), closed(schema)))
    });
    versions.collect()
}

/// The schema without room for fields that it does not name, where it names any.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(parts) => {
            let parts = parts.iter().map(|(key, part)| (key.clone(), closed(part)));
            let mut parts: serde_json::Map<String, Value> = parts.collect();
            let is_open = parts.contains_key("additionalProperties")
                || parts.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if parts.get("properties").is_some_and(Value::is_object)
                && parts.get("type") == Some(&json!("object"))
                && !is_open
            {
                parts.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(parts)
        }
        Value::Array(items) => Value::Array(items.iter().map(closed).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_refers_to_what_lies_beside_it() {
        let schema = r#"{"$id":"https://kubernetes.io/api/x","a":{"$ref":"/api/_definitions.json#/$defs/y"}}"#;
        assert_eq!(
            at_home(schema).unwrap(),
            r#"{"a":{"$ref":"_definitions.json#/$defs/y"}}"#
        );
    }

    #[test]
    fn a_field_that_a_definition_does_not_name_is_closed_out() {
        let definition = json!({"spec": {
            "group": "keda.sh",
            "names": {"kind": "ScaledObject"},
            "versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "metadata": {"type": "object"},
                    "spec": {"type": "object", "properties": {"x": {"type": "string"}}},
                    "any": {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": true},
                    "map": {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
                }
            }}}]
        }});
        let schemas = of_definition(&definition);
        assert_eq!(schemas[0].0, "scaledobject-keda-v1alpha1.json");
        let at = |path: &str| schemas[0].1.pointer(path).cloned();
        assert_eq!(at("/additionalProperties"), Some(json!(false)));
        assert_eq!(
            at("/properties/spec/additionalProperties"),
            Some(json!(false))
        );
        assert_eq!(at("/properties/metadata/additionalProperties"), None);
        assert_eq!(at("/properties/any/additionalProperties"), None);
        assert_eq!(
            at("/properties/map/additionalProperties"),
            Some(json!({"type": "string"}))
        );
    }
}
