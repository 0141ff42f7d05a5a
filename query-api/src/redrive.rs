//! Which dead letters are to go back to their topics, and what became of it.
//!
//! In the flow: `routes` → **`redrive`** → `redriver` → **`redrive`** → the client.

use es_sink::dead_letters::filter::Filter;
use es_sink::dead_letters::letter::Place;
use log_event::tenant::Tenant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Code, Problem};
use crate::parameters;

/// The most letters that a request may name.
const LETTERS_MAX: usize = 1_000;

/// What a client asks for: some letters, or all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveRequest {
    /// The letters at these places in the dead-letter topic, `PARTITION:OFFSET`.
    #[schema(example = json!(["0:17"]), max_items = 1_000)]
    letters: Vec<String>,
    /// Every letter that was not redriven yet.
    all: bool,
}

impl RedriveRequest {
    /// Reads a request's body, and says which letters it means. A tenant's key means its tenant's alone.
    ///
    /// # Errors
    /// A [`Problem`] names the offender.
    pub fn read(body: &[u8], tenant: Option<&Tenant>) -> Result<Filter, Problem> {
        let request: Self = parameters::object(body).map_err(|error| {
            let detail = format!(
                "the body is `{{\"letters\":[\"PARTITION:OFFSET\"]}}` or `{{\"all\":true}}`: {error}"
            );
            Problem::new(Code::InvalidJson, detail)
        })?;
        let invalid = |detail: String| Problem {
            parameter: Some("letters".to_owned()),
            ..Problem::new(Code::InvalidParameter, detail)
        };
        if request.all != request.letters.is_empty() {
            return Err(invalid(
                "say which letters: either `letters`, or `all` for every one".to_owned(),
            ));
        }
        if request.letters.len() > LETTERS_MAX {
            return Err(invalid(format!(
                "`letters` may name {LETTERS_MAX}; send several requests, or `all`"
            )));
        }
        let places: Result<Vec<Place>, Problem> = request
            .letters
            .iter()
            .map(|text| {
                let shown: String = text.chars().take(64).collect();
                text.parse()
                    .map_err(|error| invalid(format!("`letters`: `{shown}`: {error}")))
            })
            .collect();
        Ok(Filter {
            places: places?,
            tenant: tenant.map(ToString::to_string),
            ..Filter::default()
        })
    }
}

/// What became of a redrive.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Redriven {
    /// Letters whose records are in their topics again.
    #[schema(example = 1)]
    pub redriven: u64,
    /// Letters that were meant and cannot be written to their topics.
    #[schema(example = 0)]
    pub refused: u64,
    /// The first ten of them, and why.
    pub refusals: Vec<String>,
    /// Why it ended before everything that was meant was redriven; what was redriven stays so.
    pub ended_early: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Filter, String> {
        RedriveRequest::read(body.as_bytes(), None).map_err(|problem| problem.detail)
    }

    #[test]
    fn what_is_meant_must_be_said() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let some = read(r#"{"letters":["0:17","3:1"]}"#).unwrap();
        assert_eq!(some.places, [place("0:17"), place("3:1")]);
        assert!(read(r#"{"all":true}"#).unwrap().is_empty());
        for (body, named) in [
            ("", "the body is"),
            ("{}", "say which letters"),
            (r#"{"all":true,"letters":["0:1"]}"#, "say which letters"),
            (r#"{"letters":["x"]}"#, "`x`"),
            (r#"{"letters":["+1:1"]}"#, "`+1:1`"),
            (r#"[["0:1"],false]"#, "not an object"),
            (r#"{"letter":["0:1"]}"#, "unknown field"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.contains(named), "{body}: {error}");
        }
        let many = serde_json::json!({"letters": vec!["0:1"; 1_001]}).to_string();
        assert!(read(&many).unwrap_err().contains("may name 1000"));
    }

    #[test]
    fn a_tenant_s_key_means_its_tenant_s_letters() {
        let tenant: Tenant = "shop".parse().unwrap();
        let filter = RedriveRequest::read(br#"{"all":true}"#, Some(&tenant)).unwrap();
        assert_eq!(filter.tenant.as_deref(), Some("shop"));
        assert!(!filter.is_empty());
    }
}
