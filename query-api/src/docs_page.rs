//! The description of the API for people: `/openapi.json` as one page without script or outside resource.
//!
//! In the flow: `openapi` → **`docs_page`** → `page`.

use std::fmt::Write as _;

use serde_json::Value;

/// How it looks.
pub const STYLE: &str = include_str!("docs_page/docs.css");

/// The page for an OpenAPI document.
#[must_use]
pub fn html(openapi: &Value) -> String {
    let mut page = Page::default();
    page.push("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    page.push("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.push(
        "<title>logflow: the API</title><link rel=\"stylesheet\" href=\"./docs.css\"><body><main>",
    );
    page.element("h1", text(&openapi["info"]["title"]));
    page.element("p", text(&openapi["info"]["description"]));
    page.push("<p><a href=\"./openapi.json\">openapi.json</a> for programs · <a href=\"./\">the explorer</a></p>");
    for (path, operations) in members(&openapi["paths"]) {
        for (method, operation) in members(operations) {
            page.operation(path, method, operation);
        }
    }
    page.push("<h2 id=\"schemas\">What is sent and answered</h2>");
    for (name, schema) in members(&openapi["components"]["schemas"]) {
        page.schema(name, schema);
    }
    page.push("</main></body></html>\n");
    page.html
}

#[derive(Default)]
struct Page {
    html: String,
}

impl Page {
    fn push(&mut self, html: &str) {
        self.html.push_str(html);
    }

    /// An element with a text in it.
    fn element(&mut self, name: &str, text: &str) {
        write!(self.html, "<{name}>{}</{name}>", escaped(text)).expect("memory takes all");
    }

    fn operation(&mut self, path: &str, method: &str, operation: &Value) {
        let title = format!("{} {path}", method.to_uppercase());
        let id = title.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        write!(
            self.html,
            "<section id=\"{id}\"><h2><code>{}</code></h2>",
            escaped(&title)
        )
        .expect("memory takes all");
        for part in ["summary", "description"] {
            self.element("p", text(&operation[part]));
        }
        let parameters = operation["parameters"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        if !parameters.is_empty() {
            self.push("<table><thead><tr><th>parameter<th>type<th>meaning</thead><tbody>");
            for parameter in parameters {
                let required = if parameter["required"] == true {
                    ", required"
                } else {
                    ""
                };
                let schema = &parameter["schema"];
                self.row(
                    text(&parameter["name"]),
                    &format!("{}{required}", kind(schema)),
                    text(&parameter["description"]),
                    &[&parameter["example"], schema],
                );
            }
            self.push("</tbody></table>");
        }
        for (media_type, content) in members(&operation["requestBody"]["content"]) {
            self.push("<p>Body: ");
            self.reference(&content["schema"]);
            write!(self.html, " as <code>{}</code></p>", escaped(media_type))
                .expect("memory takes all");
        }
        self.push("<table><thead><tr><th>status<th>answer<th>meaning</thead><tbody>");
        for (status, response) in members(&operation["responses"]) {
            write!(self.html, "<tr><td>{}<td>", escaped(status)).expect("memory takes all");
            for (n, (media_type, content)) in members(&response["content"]).enumerate() {
                self.push(if n == 0 { "" } else { "<br>" });
                self.reference(&content["schema"]);
                write!(self.html, " <small>{}</small>", escaped(media_type))
                    .expect("memory takes all");
            }
            self.element("td", text(&response["description"]));
        }
        self.push("</tbody></table></section>");
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        write!(self.html, "<section id=\"{0}\"><h3>{0}</h3>", escaped(name))
            .expect("memory takes all");
        self.element("p", text(&schema["description"]));
        let values = schema["enum"].as_array();
        if let Some(values) = values {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            self.element("p", &values.join(" · "));
        }
        if schema["properties"].is_object() {
            self.push("<table><thead><tr><th>member<th>type<th>meaning</thead><tbody>");
            for (member, property) in members(&schema["properties"]) {
                self.row(
                    member,
                    &kind(property),
                    text(&property["description"]),
                    &[property],
                );
            }
            self.push("</tbody></table>");
        }
        self.push("</section>");
    }

    /// `more` are schemas and examples that may tell bounds.
    fn row(&mut self, name: &str, kind: &str, meaning: &str, more: &[&Value]) {
        write!(
            self.html,
            "<tr><td><code>{}</code><td>{}",
            escaped(name),
            escaped(kind)
        )
        .expect("memory takes all");
        let mut meaning = meaning.trim_end_matches('.').to_owned();
        for value in more {
            for (key, shown) in [
                ("minimum", "at least"),
                ("maximum", "at most"),
                ("maxLength", "at most, in characters,"),
                ("default", "by default"),
                ("example", "for example"),
            ] {
                match &value[key] {
                    Value::Null => {}
                    Value::String(text) => meaning += &format!("; {shown} {text}"),
                    other => meaning += &format!("; {shown} {other}"),
                }
            }
        }
        self.element("td", &meaning);
    }

    fn reference(&mut self, schema: &Value) {
        let name = named(schema);
        match name {
            Some(name) => write!(self.html, "<a href=\"#{0}\">{0}</a>", escaped(name)),
            None => write!(self.html, "{}", escaped(&kind(schema))),
        }
        .expect("memory takes all");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = named(schema) {
        return name.to_owned();
    }
    if let Some(one_of) = schema["oneOf"].as_array() {
        return one_of.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("{} []", kind(&schema["items"])),
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_path_and_schema_and_nothing_outside() {
        let openapi: Value = serde_json::from_str(&crate::openapi::document()).unwrap();
        let page = html(&openapi);
        for (path, _) in members(&openapi["paths"]) {
            assert!(page.contains(&escaped(path)), "{path}");
        }
        for (name, _) in members(&openapi["components"]["schemas"]) {
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        for word in ["http:", "https:", "<script", "style="] {
            let outside = page.matches(word).count();
            let shown = openapi.to_string().matches(word).count();
            assert!(outside <= shown, "{word}: {outside}, {shown}");
        }
    }

    #[test]
    fn what_is_described_is_only_text() {
        let openapi = serde_json::json!({"info": {"title": "<b>\"a\"&"}});
        assert!(html(&openapi).contains("<h1>&lt;b&gt;&quot;a&quot;&amp;</h1>"));
    }
}
