//! All selected events as a file: NDJSON or CSV, with an end that shows whether it is whole.
//!
//! In the flow: `selection` → **`export`** → `exporter` → **`export`** → the client. Upholds QA-4.
//! NDJSON has each event as it was stored. CSV is for spreadsheets: a text that
//! one would take for a formula gets a `'` before it, because whoever can log
//! could otherwise run formulas in the reader's spreadsheet.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary, invalid};
use crate::query::leaves::{Leaf, Leaves};
use crate::search_request::{PAGE_LIMIT_MAX, SearchRequest, Sort};
use crate::search_response::{Found, Partial};
use crate::selection::Selection;
use crate::tail::on_one_line;

/// The most columns of a CSV file.
pub const COLUMNS_MAX: usize = 100;
const COLUMNS_DEFAULT: &str = "timestamp,level,resourceId,message";
/// A comma in a field's name cannot be told from one between two names.
const COLUMN_SEPARATOR: char = ',';

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// Which events in which order; a page at a time.
    pub search: SearchRequest,
    /// As what.
    pub format: Format,
}

/// The form of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One event a line.
    Ndjson,
    /// A table with these fields as columns.
    Csv(Vec<String>),
}

pub(crate) const PARAMETERS: &Vocabulary = &[
    ("q", Parameter::Query),
    ("from", Parameter::Start),
    ("to", Parameter::End),
    ("sort", Parameter::Sort),
    ("format", Parameter::Format),
    ("fields", Parameter::Fields),
];

impl ExportRequest {
    /// Reads the query string.
    ///
    /// # Errors
    /// [`RequestError`] names the offender.
    pub fn read(query: &str, bound: RangeBound) -> Result<Self, RequestError> {
        let mut given = Given::in_query_string(PARAMETERS, query)?;
        let is_csv = given.one_of(Parameter::Format, [("ndjson", false), ("csv", true)])?;
        let fields = given.text(Parameter::Fields)?.map(|(_, fields)| fields);
        let format = if is_csv {
            let fields = fields.as_deref().unwrap_or(COLUMNS_DEFAULT);
            let columns: Vec<String> = fields.split(COLUMN_SEPARATOR).map(str::to_owned).collect();
            if columns.len() > COLUMNS_MAX || columns.iter().any(String::is_empty) {
                let reason = format!("names 1 to {COLUMNS_MAX} fields, separated by commas");
                return Err(invalid("fields", reason));
            }
            Format::Csv(columns)
        } else if fields.is_some() {
            return Err(invalid(
                "fields",
                "is for `format=csv`; NDJSON has events as they are",
            ));
        } else {
            Format::Ndjson
        };
        let search = SearchRequest {
            selection: Selection::read(&mut given, bound)?,
            sort: given.one_of(
                Parameter::Sort,
                [("newest", Sort::Newest), ("oldest", Sort::Oldest)],
            )?,
            limit: PAGE_LIMIT_MAX,
        };
        Ok(Self { search, format })
    }
}

/// How an export ends.
#[derive(Clone, Debug, Default, Serialize)]
pub struct End {
    /// How many events it has.
    pub events: u64,
    /// Whether some may be missing.
    pub partial: bool,
    /// Why; empty unless `partial`.
    pub partial_reasons: Vec<Partial>,
}

impl Format {
    /// The file's media type (RFC 4180; NDJSON has none that is registered).
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv(_) => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The ending of its name.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv(_) => "csv",
        }
    }

    /// What stands before the first event.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        match self {
            Self::Ndjson => Vec::new(),
            Self::Csv(columns) => table(std::iter::once(columns.iter().map(Cow::from).collect())),
        }
    }

    /// The events of a page.
    #[must_use]
    pub fn rows(&self, found: &Found<'_>) -> Vec<u8> {
        let events = found.hits().filter_map(|hit| hit.event.map(RawValue::get));
        match self {
            Self::Ndjson => {
                let mut lines = Vec::new();
                for event in events {
                    lines.extend(on_one_line(event.as_bytes()));
                    lines.push(b'\n');
                }
                lines
            }
            Self::Csv(columns) => table(events.map(|event| row(event, columns))),
        }
    }

    /// What stands after the last event: without it the file is cut.
    #[must_use]
    pub fn end(&self, end: &End) -> Vec<u8> {
        match self {
            Self::Ndjson => {
                #[derive(Serialize)]
                struct Line<'e> {
                    _end: bool,
                    #[serde(flatten)]
                    end: &'e End,
                }
                let line = serde_json::to_string(&Line { _end: true, end });
                (line.expect("texts and numbers are JSON") + "\n").into_bytes()
            }
            Self::Csv(_) => {
                let mut line = format!("# end: {} events", end.events);
                let reasons = end
                    .partial_reasons
                    .iter()
                    .map(|reason| reason.code.as_str());
                let reasons: Vec<&str> = reasons.collect();
                if end.partial {
                    line += &format!(", partial: {}", reasons.join(" "));
                }
                (line + "\r\n").into_bytes()
            }
        }
    }
}

fn row<'e>(event: &'e str, columns: &[String]) -> Vec<Cow<'e, str>> {
    let leaves = Leaves::of(event.as_bytes());
    let cell = |column: &String| {
        let values: Vec<&Leaf<'_>> = leaves.at(column).collect();
        match values.as_slice() {
            [Leaf::Number(number)] => Cow::Owned((*number).to_owned()),
            values => {
                let texts: Vec<&str> = values.iter().map(|leaf| leaf.as_text()).collect();
                Cow::Owned(harmless(&texts.join("; ")))
            }
        }
    };
    columns.iter().map(cell).collect()
}

/// A text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("{}{text}", if is_formula { "'" } else { "" })
}

fn table<'r>(rows: impl Iterator<Item = Vec<Cow<'r, str>>>) -> Vec<u8> {
    let mut table = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        let written = table.write_record(row.iter().map(|cell| cell.as_bytes()));
        written.expect("memory takes all, and every row has the same columns");
    }
    table.into_inner().expect("memory takes all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_response::PartialCode;
    use expect_test::expect;
    use log_event::timestamp::Timestamp;

    fn read(query: &str) -> Result<ExportRequest, RequestError> {
        let now = Timestamp::from_nanos(0).unwrap();
        ExportRequest::read(query, RangeBound { max: None, now })
    }

    const FOUND: &[u8] = br#"{"took":1,"timed_out":false,"_shards":{"total":2,"failed":0},"hits":{"hits":[
        {"_index":"i","_id":"1","_source":{"message":"=HYPERLINK(\"x\"), \"y\"","n":-5,"level":"error"}},
        {"_index":"i","_id":"2","_source":{ "message":"two\nlines",
            "n":[1,2.50],"metadata":{"a":true}}}]}}"#;

    fn file(query: &str) -> String {
        let format = read(query).unwrap().format;
        let mut end = End {
            events: 2,
            ..End::default()
        };
        let whole = format.end(&end);
        end.partial = true;
        end.partial_reasons.push(Partial {
            code: PartialCode::TimedOut,
            detail: "late".to_owned(),
        });
        let parts = [
            format.head(),
            format.rows(&Found::read(FOUND).unwrap()),
            whole,
            format.end(&end),
        ];
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn ndjson_has_each_event_as_it_was_stored_on_one_line() {
        expect![[r#"
            {"message":"=HYPERLINK(\"x\"), \"y\"","n":-5,"level":"error"}
            { "message":"two\nlines",             "n":[1,2.50],"metadata":{"a":true}}
            {"_end":true,"events":2,"partial":false,"partial_reasons":[]}
            {"_end":true,"events":2,"partial":true,"partial_reasons":[{"code":"timed_out","detail":"late"}]}
        "#]].assert_eq(&file(""));
    }

    #[test]
    fn csv_has_a_column_for_each_field_and_no_formula() {
        expect![[r#"
            level,message,n,metadata.a␍
            error,"'=HYPERLINK(""x""), ""y""",-5,␍
            ,"two
            lines",1; 2.50,true␍
            # end: 2 events␍
            # end: 2 events, partial: timed_out␍
        "#]]
        .assert_eq(&file("format=csv&fields=level,message,n,metadata.a").replace('\r', "␍"));
    }

    #[test]
    fn a_request_says_what_it_cannot_have() {
        for query in [
            "format=xml",
            "fields=a",
            "format=csv&fields=a,,b",
            "limit=5",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
        let many = format!("format=csv&fields={}a", "a,".repeat(COLUMNS_MAX));
        assert!(read(&many).is_err());
        assert_eq!(read("sort=oldest").unwrap().search.sort, Sort::Oldest);
    }
}
