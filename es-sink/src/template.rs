//! Installs the index template before anything is indexed.
//!
//! In the flow: `config` → **`template`** → `consumer`. Idempotent and versioned;
//! a template of somebody else under the same name is never overwritten.
//! What OpenSearch does not know of it is replaced in [`for_opensearch`] alone.
//!
//! Beside the flow: [`command`] is `es-sink template`, which shows what differs ([`difference`]) and installs it.

pub mod command;
pub mod difference;

use std::time::Duration;

use bytes::Bytes;
use log_event::document::IndexPattern;
use serde_json::{Value, json};
use service::elasticsearch::{Method, Nodes, Reply, Request};
use service::search_engine::SearchEngine;

/// The template as it ships; its pattern is replaced by the operator's.
const SHIPPED: &str = include_str!("../../deploy/elasticsearch/index-template.json");
/// Above the templates that Elasticsearch brings along.
const PRIORITY: usize = 200;
const MANAGED_BY: &str = "logflow";
const TIMEOUT: Duration = Duration::from_secs(30);
/// OpenSearch cannot ignore fields beyond the limit and refuses the event
/// instead, so the limit is higher there.
const OPENSEARCH_FIELDS_MAX: u32 = 2_000;

/// The template for an index pattern.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    body: Value,
}

/// What to do about what Elasticsearch holds under the template's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// There is none, or an older one of ours.
    Install,
    /// It is ours, of this version or a newer one.
    Keep,
    /// It is not ours.
    Refuse,
}

/// Why the template is not installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Trying again may help.
    #[error("index template `{name}`: {reason}")]
    NotNow {
        /// The template.
        name: String,
        /// What Elasticsearch said.
        reason: String,
    },
    /// Only an operator can help.
    #[error("{0}")]
    Never(String),
}

impl Template {
    /// The template for the indices of a pattern. Each pattern has a template
    /// of its own, so that two groups do not fight over one.
    ///
    /// # Panics
    /// If the shipped template is no JSON object, which a test excludes.
    #[must_use]
    pub fn new(pattern: &IndexPattern) -> Self {
        let wildcard = pattern.wildcard();
        // Where the day stands is part of the name, unless it stands at the end.
        let stem = pattern.as_str().trim_end_matches("{date}");
        let stem = stem
            .replace("{date}", "-date-")
            .replace("{tenant}", "-tenant-");
        let stem = stem
            .split(['-', '_', '.', '+'])
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        let is_ours = stem
            .strip_prefix(MANAGED_BY)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let name = if is_ours {
            stem
        } else {
            format!("{MANAGED_BY}-{stem}")
        };
        let mut body: Value = serde_json::from_str(SHIPPED).expect("the shipped template is JSON");
        // The longer pattern of two that overlap is the more particular one;
        // Elasticsearch wants to be told (create index template API).
        body["priority"] = Value::from(PRIORITY + wildcard.len());
        body["index_patterns"] = Value::from(vec![wildcard]);
        Self { name, body }
    }

    /// Decides from what Elasticsearch holds: the template's `index_template` object, if any.
    #[must_use]
    pub fn plan(&self, held: Option<&Value>) -> Plan {
        let Some(held) = held else {
            return Plan::Install;
        };
        let version = |template: &Value| template["_meta"]["version"].as_u64();
        if held["_meta"]["managed_by"] != MANAGED_BY {
            return Plan::Refuse;
        }
        let same_indices = held["index_patterns"] == self.body["index_patterns"];
        if same_indices && version(held) >= version(&self.body) {
            Plan::Keep
        } else {
            Plan::Install
        }
    }

    /// The template as an engine takes it.
    #[must_use]
    pub fn body_for(&self, engine: SearchEngine) -> Value {
        let mut body = self.body.clone();
        match engine {
            SearchEngine::Elasticsearch => {}
            SearchEngine::OpenSearch => for_opensearch(&mut body),
        }
        body
    }

    /// Looks, decides, installs.
    ///
    /// # Errors
    /// [`TemplateError::NotNow`] while Elasticsearch is away or refuses for a
    /// reason outside the template.
    pub async fn install(&self, nodes: &Nodes) -> Result<Plan, TemplateError> {
        let engine = self.engine(nodes).await?;
        let path = self.path();
        let held = self.look(nodes).await?;
        let plan = self.plan(held.as_ref());
        match plan {
            Plan::Keep => Ok(plan),
            Plan::Refuse => Err(TemplateError::Never(format!(
                "Elasticsearch has an index template `{}` that is not logflow's; rename it, choose another --index-pattern, or start with --no-template",
                self.name
            ))),
            Plan::Install => {
                let body = Bytes::from(self.body_for(engine).to_string());
                let reply = self
                    .exchange(nodes, Request::json(Method::Put, &path, body, TIMEOUT))
                    .await?;
                match reply.status {
                    200 => Ok(plan),
                    400 => Err(TemplateError::Never(format!(
                        "Elasticsearch refuses the index template `{}` (choose another --index-pattern, or start with --no-template): {}",
                        self.name,
                        text(&reply)
                    ))),
                    _ => Err(self.not_now(&reply)),
                }
            }
        }
    }

    /// What Elasticsearch holds under the template's name, if anything.
    ///
    /// # Errors
    /// [`TemplateError::NotNow`], as [`install`](Self::install).
    pub async fn look(&self, nodes: &Nodes) -> Result<Option<Value>, TemplateError> {
        let path = self.path();
        let request = Request::bare(Method::Get, &path, TIMEOUT);
        let reply = self.exchange(nodes, request).await?;
        match reply.status {
            200 => self.held(&reply).map(Some),
            404 => Ok(None),
            _ => Err(self.not_now(&reply)),
        }
    }

    /// What the nodes are.
    ///
    /// # Errors
    /// [`TemplateError::NotNow`] while none of them answers.
    pub async fn engine(&self, nodes: &Nodes) -> Result<SearchEngine, TemplateError> {
        let engine = SearchEngine::ask(nodes, TIMEOUT).await;
        engine.map_err(|reason| TemplateError::NotNow {
            name: self.name.clone(),
            reason,
        })
    }

    fn path(&self) -> String {
        format!("/_index_template/{}", self.name)
    }

    /// The template's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn exchange(&self, nodes: &Nodes, request: Request<'_>) -> Result<Reply, TemplateError> {
        nodes
            .send(request)
            .await
            .map_err(|error| TemplateError::NotNow {
                name: self.name.clone(),
                reason: error.to_string(),
            })
    }

    fn held(&self, reply: &Reply) -> Result<Value, TemplateError> {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // What is no list cannot be asked mutably for its first member.
        let held = body.pointer("/index_templates/0/index_template");
        let held = held.filter(|held| held.is_object()).cloned();
        held.ok_or_else(|| self.not_now(reply))
    }

    fn not_now(&self, reply: &Reply) -> TemplateError {
        TemplateError::NotNow {
            name: self.name.clone(),
            reason: format!("status {}: {}", reply.status, text(reply)),
        }
    }
}

/// Replaces what OpenSearch 2.19 does not know by what comes closest.
fn for_opensearch(template: &mut Value) {
    if let Some(settings) = template["template"]["settings"].as_object_mut() {
        settings.remove("index.mapping.total_fields.ignore_dynamic_beyond_limit");
        settings.insert(
            "index.mapping.total_fields.limit".to_owned(),
            OPENSEARCH_FIELDS_MAX.into(),
        );
    }
    mapping_for_opensearch(&mut template["template"]["mappings"]);
}

/// A mapping of a field, or anything that has such somewhere below it.
fn mapping_for_opensearch(value: &mut Value) {
    match value["type"].as_str() {
        // It has none of the other's parameters, and so refuses a key or value of more than 32 KiB.
        Some("flattened") => *value = json!({ "type": "flat_object" }),
        // A boolean cannot ignore what is none, and the event would be lost to the index.
        Some("boolean") if value["ignore_malformed"] == true => {
            *value = json!({ "type": "keyword", "ignore_above": 1024 });
        }
        _ => {
            let fields = value.as_object_mut().into_iter().flatten();
            for (_, below) in fields.filter(|(_, below)| below.is_object() || below.is_array()) {
                match below {
                    Value::Array(all) => all.iter_mut().for_each(mapping_for_opensearch),
                    one => mapping_for_opensearch(one),
                }
            }
        }
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body)
        .chars()
        .take(500)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(pattern: &str) -> Template {
        Template::new(&pattern.parse().unwrap())
    }

    #[test]
    fn each_pattern_has_a_template_of_its_own() {
        assert_eq!(template("logflow-{date}").name(), "logflow");
        assert_eq!(template("logflow-a-{date}").name(), "logflow-a");
        assert_eq!(template("logflower-{date}").name(), "logflow-logflower");
        assert_eq!(template("team-a-{date}").name(), "logflow-team-a");
        assert_eq!(template("team-{date}-v2").name(), "logflow-team-date-v2");
        assert_eq!(template("logflow-{tenant}-{date}").name(), "logflow-tenant");
        assert_eq!(
            template("team-{date}-v2").body["index_patterns"],
            json!(["team-*-v2"])
        );
    }

    #[test]
    fn installs_what_is_missing_or_older_keeps_its_own_and_refuses_a_foreign_one() {
        let ours = template("logflow-{date}");
        let version = ours.body["_meta"]["version"].as_u64().unwrap();
        let held = |version: u64| json!({"index_patterns": ["logflow-*"], "_meta": {"managed_by": "logflow", "version": version}});
        assert_eq!(ours.plan(None), Plan::Install);
        assert_eq!(ours.plan(Some(&held(version - 1))), Plan::Install);
        assert_eq!(ours.plan(Some(&held(version))), Plan::Keep);
        assert_eq!(ours.plan(Some(&held(version + 1))), Plan::Keep);
        assert_eq!(
            ours.plan(Some(&json!({"index_patterns": ["logflow-*"]}))),
            Plan::Refuse
        );
        assert_eq!(
            ours.plan(Some(&json!({"_meta": {"managed_by": "somebody"}}))),
            Plan::Refuse
        );
    }

    #[test]
    fn a_reply_without_a_template_is_no_template_and_no_panic() {
        let ours = template("logflow-{date}");
        let reply = |body: &'static str| Reply {
            status: 200,
            headers: service::elasticsearch::HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        for body in [
            "{}",
            "[]",
            "",
            "null",
            "7",
            "not JSON",
            r#"{"index_templates":[]}"#,
            r#"{"index_templates":{}}"#,
            r#"{"index_templates":null}"#,
            r#"{"index_templates":[{}]}"#,
            r#"{"index_templates":[{"index_template":[]}]}"#,
        ] {
            let held = ours.held(&reply(body));
            assert!(matches!(held, Err(TemplateError::NotNow { .. })), "{body}");
        }
        let body = r#"{"index_templates":[{"name":"logflow","index_template":{"version":1}}]}"#;
        assert_eq!(ours.held(&reply(body)), Ok(json!({"version": 1})));
    }

    #[test]
    fn opensearch_gets_what_it_knows_and_elasticsearch_what_ships() {
        let ours = template("logflow-{date}");
        assert_eq!(ours.body_for(SearchEngine::Elasticsearch), ours.body);
        let theirs = ours.body_for(SearchEngine::OpenSearch);
        let (settings, mappings) = (
            &theirs["template"]["settings"],
            &theirs["template"]["mappings"],
        );
        assert_eq!(settings["index.mapping.total_fields.limit"], 2_000);
        assert_eq!(
            mappings["properties"]["metadata"],
            json!({"type": "flat_object"})
        );
        assert_eq!(
            mappings["dynamic_templates"][3]["booleans"]["mapping"],
            json!({"type": "keyword", "ignore_above": 1024})
        );
        let text = theirs.to_string();
        for unknown in [
            "ignore_dynamic_beyond_limit",
            "flattened",
            "\"boolean\",\"ign",
        ] {
            assert!(!text.contains(unknown), "{unknown} in {text}");
        }
    }

    #[test]
    fn what_both_engines_know_is_the_same_for_both() {
        let ours = template("logflow-{date}");
        let theirs = ours.body_for(SearchEngine::OpenSearch);
        for part in [
            "/index_patterns",
            "/priority",
            "/_meta",
            "/template/settings/index.translog.durability",
            "/template/mappings/properties/message",
            "/template/mappings/properties/timestamp",
            "/template/mappings/dynamic_templates/0",
            "/template/mappings/dynamic_templates/1",
        ] {
            let (ours, theirs) = (ours.body.pointer(part), theirs.pointer(part));
            assert!(ours.is_some() && ours == theirs, "{part}: {theirs:?}");
        }
    }
}
