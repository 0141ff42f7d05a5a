//! What all operations have in common in the description: how they refuse, an example of each reply, and which texts a
//! parameter takes.
//!
//! In the flow: part of `openapi`, which names the operations. Pure.
//!
//! A `format` that begins with `logflow-` names a text that a pattern cannot describe, such as a query; whoever makes
//! requests by machine makes such texts by that name (the live scenario `openapi` does).

use serde_json::{Map, Value, json};

use crate::error::Code;

/// The replies, by operation; those to the same request with an index or by another method are the same.
const EXAMPLES: &str = include_str!("examples.json");

/// A moment, as `query_date` reads it; empty as none.
const MOMENT: &str = concat!(
    r"^\s*(",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?",
    r"|now([-+ ][0-9]+[smhdw])?",
    r"|[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?",
    r")?\s*$"
);
/// How far each partition was read, as `tail::Position` reads it; empty as none.
const POSITION: &str = "^([0-9]+:[0-9]+(,[0-9]+:[0-9]+)*)?$";
/// Names with commas between them, as `export` reads them; empty as none.
const COLUMNS: &str = "^([^,]+(,[^,]+){0,99})?$";
/// Where a dead letter stands, as `es_sink::dead_letters::letter::Place` reads it.
const PLACE: &str = "^[0-9]{1,9}:[0-9]{1,18}$";
/// As Elasticsearch reads them.
const NAMES: &str = "^[^,]+(,[^,]+)*$";

/// An example of each refusal, by status; that of an operation that has another stays.
const REFUSALS: [(&str, Code, &str); 11] = [
    (
        "400",
        Code::InvalidParameter,
        "`limit`: `none` is not a whole number from 1 to 10000",
    ),
    (
        "401",
        Code::KeyUnknown,
        "there is no such API key, or its secret is another one",
    ),
    (
        "403",
        Code::ScopeMissing,
        "the API key lacks the scope `export`; the operator can add it in the key file",
    ),
    (
        "404",
        Code::NotFound,
        "there is no event `1`; it may be too new to be indexed, or too old to be kept",
    ),
    (
        "408",
        Code::BodyIncomplete,
        "the body did not arrive in time, or broke off",
    ),
    (
        "410",
        Code::CursorExpired,
        "the cursor was not used for too long, or gave way to newer ones; start again without `cursor`",
    ),
    (
        "413",
        Code::BodyTooLarge,
        "the body is larger than this service takes (`--max-body-bytes`)",
    ),
    (
        "500",
        Code::Internal,
        "this service has a fault; its log has the details",
    ),
    (
        "501",
        Code::NotConfigured,
        "there is no live tail here: query-api was started without `--kafka-brokers`",
    ),
    (
        "502",
        Code::ElasticsearchRefused,
        "Elasticsearch refused the search; the log of this service says why",
    ),
    (
        "503",
        Code::Overloaded,
        "too many searches run at once; try again",
    ),
];

/// Adds all of it to a description.
pub(super) fn add(document: &mut Value) {
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, operations) in paths {
        let operations = operations.as_object_mut().into_iter();
        for operation in operations.flat_map(Map::values_mut) {
            describe(operation, path.starts_with("/elasticsearch/"), &examples);
        }
    }
    describe_body(&mut document["components"]["schemas"]["SearchBody"]);
    describe_redrive(&mut document["components"]["schemas"]["RedriveRequest"]);
}

/// Either some letters, or all of them.
fn describe_redrive(schema: &mut Value) {
    let letters = &mut schema["properties"]["letters"];
    letters["items"]["pattern"] = json!(PLACE);
    letters["maxItems"] = json!(1_000);
    schema["additionalProperties"] = json!(false);
    schema["oneOf"] = json!([
        { "required": ["letters"], "properties": { "letters": { "minItems": 1 }, "all": { "const": false } } },
        { "required": ["all"], "properties": { "all": { "const": true }, "letters": { "maxItems": 0 } } },
    ]);
    schema["example"] = json!({ "letters": ["0:17"] });
}

fn describe(operation: &mut Value, is_passed_on: bool, examples: &Map<String, Value>) {
    let name = operation["operationId"].as_str().unwrap_or_default();
    let name = name.trim_end_matches("_get").trim_end_matches("_all");
    let name = name.to_owned();
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        describe_parameter(parameter);
        // A form sends its empty fields, too.
        if !is_passed_on && parameter["in"] == "query" && parameter["required"] == false {
            parameter["allowEmptyValue"] = json!(true);
        }
    }
    if is_passed_on {
        describe_passage(operation);
    } else {
        describe_refusals(operation);
    }
    if let Some(body) = operation.get_mut("requestBody") {
        // Elsewhere an empty body asks for everything, as it does in Elasticsearch's own search.
        body["required"] =
            json!(["pass_multi_search", "sign_in", "redrive"].contains(&name.as_str()));
        if let Some(lines) = body["content"].get_mut("application/x-ndjson") {
            *lines = searches();
        }
    }
    let Some(reply) = operation["responses"].get_mut("200") else {
        return;
    };
    if let Some(stream) = reply["content"].get_mut("text/event-stream") {
        stream["schema"] = event_schema();
    }
    if let Some(example) = examples.get(&name) {
        add_example(reply, example);
    }
    if name == "search" {
        reply["links"] = links();
    }
}

/// What leads on from the hits of a search.
fn links() -> Value {
    let id = "$response.body#/hits/0/id";
    json!({
        "event": { "operationId": "event", "parameters": { "id": id } },
        "context": { "operationId": "context", "parameters": { "id": id } },
        "trace": { "operationId": "trace", "parameters": { "traceId": "$response.body#/hits/0/event/traceId" } },
    })
}

/// One event of a stream, which as a whole has no end.
fn event_schema() -> Value {
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string", "enum": ["log", "dropped", "status"] },
            "data": { "type": "string", "contentMediaType": "application/json" },
            "id": { "type": "string", "description": "Goes on from here, as `after`." },
        },
    })
}

/// The body of `_msearch`: for each search a line that may name its index, and one that is the search.
fn searches() -> Value {
    json!({
        "schema": { "type": "string", "format": "logflow-searches" },
        "example": "{}\n{\"query\":{\"match_all\":{}},\"size\":1}\n",
    })
}

fn describe_parameter(parameter: &mut Value) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let is_text = parameter["schema"]["type"] == "string";
    let (format, pattern, example) = match name.as_str() {
        "q" => ("logflow-query", None, "level>=warn timeout"),
        "message" => ("logflow-part", None, "connect to DB"),
        "startDate" | "from" => ("logflow-moment", Some(MOMENT), "2023-09-15T08:00:00Z"),
        "endDate" | "to" => ("logflow-moment", Some(MOMENT), "2023-09-15"),
        "after" if is_text => ("logflow-position", Some(POSITION), "0:15,1:20"),
        "field" => ("logflow-field", None, "level"),
        "fields" if parameter["required"] == true => ("logflow-names", Some(NAMES), "*"),
        "fields" => ("logflow-columns", Some(COLUMNS), "timestamp,level,message"),
        "id" => ("logflow-event-id", None, "AYqXJpAAAAAAAAAAAAAAAAAA"),
        "traceId" => ("logflow-trace-id", None, "abc-xyz-123"),
        "index" => ("logflow-index", None, "logflow-2023.09.15"),
        "parentResourceId" => ("", None, "server-0987"),
        _ => ("", None, ""),
    };
    if !format.is_empty() {
        parameter["schema"]["format"] = json!(format);
    }
    if let Some(pattern) = pattern {
        parameter["schema"]["pattern"] = json!(pattern);
    }
    if parameter["example"].is_null() {
        let default = parameter["schema"]["default"].clone();
        parameter["example"] = if default.is_null() {
            json!(example)
        } else {
            default
        };
    }
}

/// Dates and limits may be numbers in JSON, and a name that is another's twin may stand in its place only.
fn describe_body(schema: &mut Value) {
    for (name, format, pattern) in [
        ("q", "logflow-query", None),
        ("message", "logflow-part", None),
        ("cursor", "logflow-cursor", None),
        ("from", "logflow-moment", Some(MOMENT)),
        ("to", "logflow-moment", Some(MOMENT)),
    ] {
        let member = &mut schema["properties"][name];
        member["format"] = json!(format);
        if let Some(pattern) = pattern {
            member["type"] = json!(["string", "number", "null"]);
            member["pattern"] = json!(pattern);
            member["minimum"] = json!(0);
        }
    }
    schema["not"] = json!({ "required": ["metadata.parentResourceId", "parentResourceId"] });
    schema["example"] =
        json!({ "q": "level>=warn timeout", "from": "2023-09-15", "sort": "newest", "limit": 100 });
}

fn describe_refusals(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    responses.entry("500").or_insert_with(|| {
        json!({
            "description": "This service has a fault.",
            "content": { "application/problem+json": problem },
        })
    });
    for (status, code, detail) in REFUSALS {
        let Some(response) = responses.get_mut(status) else {
            continue;
        };
        let Some(problem) = response["content"].get_mut("application/problem+json") else {
            // Readiness alone says no in another form.
            let reason = "no node of Elasticsearch can be reached";
            add_example(response, &json!({ "ready": false, "reasons": [reason] }));
            continue;
        };
        if problem["example"].is_null() {
            problem["example"] = example_of(code, detail);
        }
        if code.may_pass() {
            response["headers"]["retry-after"] = json!({
                "description": "After how many seconds the same request may succeed.",
                "schema": { "type": "integer", "minimum": 1 },
            });
        }
    }
}

/// What is passed on is answered by Elasticsearch, and what is not is refused in its shape.
fn describe_passage(operation: &mut Value) {
    let responses = &mut operation["responses"];
    let mut passed = responses["default"].clone();
    passed["description"] = json!("Elasticsearch's reply as it came.");
    responses["200"] = passed;
    let refusal = &mut responses["default"]["content"]["application/json"];
    let reason = "`script_fields` is not passed on";
    refusal["example"] = json!({
        "error": { "type": "logflow_not_allowed", "reason": reason, "root_cause": [{ "type": "logflow_not_allowed", "reason": reason }] },
        "status": 403,
    });
}

fn example_of(code: Code, detail: &str) -> Value {
    let status = code.status();
    json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code.as_str(),
        "detail": detail,
    })
}

/// Of a reply in several forms, the example shows the first.
fn add_example(response: &mut Value, example: &Value) {
    let mut forms = response["content"].as_object_mut().into_iter().flatten();
    if let Some((_, form)) = forms.next() {
        form["example"] = example.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(check: impl Fn(&str, &Value)) {
        let document: Value = serde_json::from_str(&crate::openapi::document()).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                check(&format!("{method} {path}"), operation);
            }
        }
    }

    #[test]
    fn every_parameter_and_every_reply_has_an_example() {
        operations(|name, operation| {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let example = &parameter["example"];
                assert!(!example.is_null(), "{name}: {parameter}");
                assert_ne!(*example, "", "{name}: {parameter}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status == "204" {
                    continue;
                }
                let forms = response["content"].as_object().unwrap();
                let mut forms = forms.values();
                assert!(
                    forms.any(|form| !form["example"].is_null()),
                    "{name}: {status}"
                );
            }
        });
    }

    #[test]
    fn every_example_is_of_an_operation() {
        let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap();
        let document = crate::openapi::document();
        for name in examples.keys() {
            let named = [name.clone(), format!("{name}_get")];
            assert!(
                named
                    .iter()
                    .any(|name| document.contains(&format!("\"operationId\":\"{name}\""))),
                "{name}"
            );
        }
    }

    #[test]
    fn whoever_is_to_come_again_is_told_of_the_header() {
        operations(|name, operation| {
            let response = &operation["responses"]["503"];
            let told = response["headers"]["retry-after"].is_object();
            // Readiness is asked again anyway.
            assert!(
                response.is_null() || told || name == "get /readyz",
                "{name}"
            );
        });
    }
}
