//! What Elasticsearch's answers mean for a service, and the way out.
//!
//! In the flow: `elasticsearch` → **`elasticsearch_verdict`** → `doctor`. Pure.

use serde_json::{Value, json};

use super::Finding;

/// What a service needs to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// In the whole cluster.
    pub cluster: Vec<&'static str>,
    /// In the indices of `names`.
    pub index: Vec<&'static str>,
    /// Index names and patterns.
    pub names: Vec<String>,
}

/// The setting that keeps an index from being written, and what sets it.
const BLOCKS: [(&str, &str); 3] = [
    (
        "index.blocks.read_only_allow_delete",
        "a disk crossed the flood stage, or somebody set it: free space, Elasticsearch then lifts it",
    ),
    ("index.blocks.read_only", "somebody set it: set it to null"),
    ("index.blocks.write", "somebody set it: set it to null"),
];

/// What a node answered to `GET /`: its status and body, or why there was no answer.
#[must_use]
pub fn node(url: &str, answer: &Result<(u16, Value), String>) -> Finding {
    let about = format!("Elasticsearch node `{url}`");
    match answer {
        Err(reason) => Finding::fail(
            about,
            format!(
                "{reason}; look at --elasticsearch-url, and where TLS is spoken at --elasticsearch-ca"
            ),
        ),
        Ok((401, _)) => Finding::fail(
            about,
            "the user or the API key is not taken: look at --elasticsearch-credentials",
        ),
        Ok((200, root)) => {
            let version = &root["version"];
            let engine = version["distribution"].as_str().unwrap_or("elasticsearch");
            match version["number"].as_str() {
                Some(number) => Finding::ok(about, format!("answers, {engine} {number}")),
                None => Finding::fail(
                    about,
                    "what answers is no Elasticsearch: look at --elasticsearch-url",
                ),
            }
        }
        // Who may not see the version may well search and index.
        Ok((403, _)) => Finding::ok(about, "answers, and takes the user"),
        Ok((405, _)) => Finding::ok(about, "answers, without the page that tells its version"),
        Ok((status, _)) => Finding::fail(about, format!("answers {status} to `GET /`")),
    }
}

/// What `GET /_cluster/health` says.
#[must_use]
pub fn health(answer: &Result<(u16, Value), String>) -> Finding {
    const ABOUT: &str = "Elasticsearch cluster";
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(reason) => return Finding::fail(ABOUT, reason.clone()),
    };
    let nodes = &body["number_of_nodes"];
    match (status, body["status"].as_str()) {
        (200, Some("green")) => Finding::ok(ABOUT, format!("green, {nodes} nodes")),
        (200, Some("yellow")) => Finding::warn(
            ABOUT,
            format!(
                "yellow, {nodes} nodes: copies of shards are missing, see `GET _cluster/allocation/explain`"
            ),
        ),
        (200 | 408, Some("red")) => Finding::fail(
            ABOUT,
            format!(
                "red, {nodes} nodes: some indices cannot be used, see `GET _cluster/allocation/explain`"
            ),
        ),
        (401, _) => Finding::fail(ABOUT, "was not asked: the user is not taken"),
        (403, _) => Finding::ok(
            ABOUT,
            "not asked: that takes the privilege `monitor`, which is not needed",
        ),
        (status, _) => Finding::fail(ABOUT, format!("answers {status}")),
    }
}

/// What the settings of the indices say of blocks.
#[must_use]
pub fn blocks(names: &str, answer: &Result<(u16, Value), String>) -> Finding {
    let about = format!("Elasticsearch indices `{names}`, blocks");
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(reason) => return Finding::fail(about, reason.clone()),
    };
    let indices = match (status, body.as_object()) {
        (200, Some(indices)) => indices,
        (401, _) => return Finding::fail(about, "were not asked for: the user is not taken"),
        (403, _) => {
            let says =
                "not asked: that takes the privilege `view_index_metadata`, which is not needed";
            return Finding::ok(about, says);
        }
        (404, _) => return Finding::ok(about, "none: there is no such index yet"),
        (status, _) => return Finding::fail(about, format!("asked for them, it answers {status}")),
    };
    for (block, why) in BLOCKS {
        let set = indices
            .iter()
            .filter(|(_, index)| index["settings"][block] == "true");
        let mut set: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
        set.sort_unstable();
        if let Some(first) = set.first() {
            let says = format!(
                "{} of {} indices have `{block}`, `{first}` among them: {why}",
                set.len(),
                indices.len()
            );
            return Finding::fail(about, says);
        }
    }
    Finding::ok(about, format!("none on {} indices", indices.len()))
}

/// The question whether a user has the privileges.
#[must_use]
pub fn privileges_question(needs: &Privileges) -> Value {
    json!({
        "cluster": needs.cluster,
        "index": [{ "names": needs.names, "privileges": needs.index }],
    })
}

/// What is answered to it.
#[must_use]
pub fn privileges(needs: &Privileges, answer: &Result<(u16, Value), String>) -> Vec<Finding> {
    const ABOUT: &str = "Elasticsearch privileges";
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(reason) => return vec![Finding::fail(ABOUT, reason.clone())],
    };
    match status {
        200 => {}
        400 | 404 | 405 | 500 | 501 => {
            let says = "not asked: security is off there, or it is not Elasticsearch's own";
            return vec![Finding::ok(ABOUT, says)];
        }
        401 => {
            return vec![Finding::fail(
                ABOUT,
                "were not asked for: the user is not taken",
            )];
        }
        status => {
            let says = format!("asked for them, it answers {status}");
            return vec![Finding::warn(ABOUT, says)];
        }
    }
    let user = body["username"].as_str().unwrap_or("the user");
    let lacking = |has: &Value, wanted: &[&'static str]| {
        let lacks = wanted.iter().filter(|privilege| has[**privilege] != true);
        let lacks: Vec<String> = lacks.map(|privilege| format!("`{privilege}`")).collect();
        (!lacks.is_empty()).then(|| lacks.join(", "))
    };
    let mut findings = Vec::new();
    if let Some(lacks) = lacking(&body["cluster"], &needs.cluster) {
        let says = format!("`{user}` lacks the cluster privilege {lacks}: add it to a role of its");
        findings.push(Finding::fail(ABOUT, says));
    }
    for name in &needs.names {
        if let Some(lacks) = lacking(&body["index"][name], &needs.index) {
            let says = format!("`{user}` lacks {lacks} on `{name}`: add it to a role of its");
            findings.push(Finding::fail(ABOUT, says));
        }
    }
    if findings.is_empty() {
        let all = needs.cluster.iter().chain(&needs.index);
        let all: Vec<String> = all.map(|privilege| format!("`{privilege}`")).collect();
        let says = format!("`{user}` has {}", all.join(", "));
        findings.push(Finding::ok(ABOUT, says));
    }
    findings
}

/// What `GET /INDICES/_count` says.
#[must_use]
pub fn searchable(names: &str, answer: &Result<(u16, Value), String>) -> Finding {
    let about = format!("Elasticsearch indices `{names}`");
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(reason) => return Finding::fail(about, reason.clone()),
    };
    let shards = &body["_shards"];
    match status {
        200 if shards["failed"].as_u64().unwrap_or_default() > 0 => Finding::fail(
            about,
            format!(
                "{} of {} shards do not answer",
                shards["failed"], shards["total"]
            ),
        ),
        200 if shards["total"] == 0 => Finding::warn(
            about,
            "no index has such a name yet: wrong --index, or nothing was indexed so far",
        ),
        200 => Finding::ok(
            about,
            format!("{} documents in {} shards", body["count"], shards["total"]),
        ),
        401 => Finding::fail(about, "were not searched: the user is not taken"),
        403 => Finding::fail(about, "the user may not search them: it lacks `read`"),
        404 => Finding::fail(about, "there is no such index: look at --index"),
        status => Finding::fail(about, format!("a search answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(finding: &Finding, expected: &str) {
        let told = finding.to_string();
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }

    fn answer(status: u16, body: Value) -> Result<(u16, Value), String> {
        Ok((status, body))
    }

    #[test]
    fn a_node_is_told_by_its_answer() {
        let at = |answer| node("http://a:9200", &answer);
        let version = json!({"version": {"number": "8.19.0"}});
        check(
            &at(answer(200, version)),
            "ok    Elasticsearch node `http://a:9200`: answers, elasticsearch 8.19.0",
        );
        let version = json!({"version": {"number": "2.19.0", "distribution": "opensearch"}});
        check(
            &at(answer(200, version)),
            "ok    Elasticsearch node `http://a:9200`: answers, opensearch",
        );
        check(
            &at(answer(200, Value::Null)),
            "FAIL  Elasticsearch node `http://a:9200`: what answers",
        );
        check(
            &at(answer(401, Value::Null)),
            "FAIL  Elasticsearch node `http://a:9200`: the user or the API key",
        );
        check(&at(answer(403, Value::Null)), "ok");
        check(&at(answer(503, Value::Null)), "FAIL");
        let refused = at(Err("it cannot be reached".to_owned()));
        check(
            &refused,
            "FAIL  Elasticsearch node `http://a:9200`: it cannot be reached; look at",
        );
    }

    #[test]
    fn health_is_told_in_elasticsearch_s_colours() {
        let of = |colour| {
            health(&answer(
                200,
                json!({"status": colour, "number_of_nodes": 3}),
            ))
        };
        check(&of("green"), "ok    Elasticsearch cluster: green, 3 nodes");
        check(&of("yellow"), "warn");
        check(&of("red"), "FAIL");
        check(
            &health(&answer(403, Value::Null)),
            "ok    Elasticsearch cluster: not asked",
        );
        check(&health(&answer(503, Value::Null)), "FAIL");
    }

    #[test]
    fn a_block_is_named_with_an_index_that_has_it() {
        let of = |answer| blocks("logflow-*", &answer);
        let body = json!({
            "logflow-1": {"settings": {}},
            "logflow-2": {"settings": {"index.blocks.read_only_allow_delete": "true"}},
        });
        let told = of(answer(200, body));
        check(
            &told,
            "FAIL  Elasticsearch indices `logflow-*`, blocks: 1 of 2 indices have `index.blocks.read_only_allow_delete`, `logflow-2`",
        );
        check(&of(answer(200, json!({"a": {"settings": {}}}))), "ok");
        check(&of(answer(200, json!({}))), "ok");
        check(&of(answer(404, Value::Null)), "ok");
    }

    #[test]
    fn a_privilege_that_is_lacking_is_named() {
        let needs = Privileges {
            cluster: vec!["manage_index_templates"],
            index: vec!["write", "create_index"],
            names: vec!["logflow-*".to_owned()],
        };
        let told = |status, body| {
            let found = privileges(&needs, &answer(status, body));
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            lines.join("\n")
        };
        let all = json!({"username": "sink", "cluster": {"manage_index_templates": true},
            "index": {"logflow-*": {"write": true, "create_index": true}}});
        assert_eq!(
            told(200, all),
            "ok    Elasticsearch privileges: `sink` has `manage_index_templates`, `write`, `create_index`"
        );
        let some = json!({"username": "sink", "cluster": {"manage_index_templates": false},
            "index": {"logflow-*": {"write": true, "create_index": false}}});
        assert_eq!(
            told(200, some),
            "FAIL  Elasticsearch privileges: `sink` lacks the cluster privilege `manage_index_templates`: add it to a role of its\n\
             FAIL  Elasticsearch privileges: `sink` lacks `create_index` on `logflow-*`: add it to a role of its"
        );
        for status in [400, 404, 405] {
            assert!(
                told(status, Value::Null).starts_with("ok    Elasticsearch privileges: not asked")
            );
        }
    }

    #[test]
    fn a_search_tells_whether_there_is_anything() {
        let of = |status, body| searchable("logflow-*", &answer(status, body));
        let some = json!({"count": 7, "_shards": {"total": 2, "failed": 0}});
        check(
            &of(200, some),
            "ok    Elasticsearch indices `logflow-*`: 7 documents in 2 shards",
        );
        check(
            &of(
                200,
                json!({"count": 0, "_shards": {"total": 0, "failed": 0}}),
            ),
            "warn",
        );
        check(
            &of(
                200,
                json!({"count": 0, "_shards": {"total": 2, "failed": 1}}),
            ),
            "FAIL",
        );
        check(
            &of(403, Value::Null),
            "FAIL  Elasticsearch indices `logflow-*`: the user may not",
        );
    }
}
