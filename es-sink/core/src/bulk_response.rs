//! Decides what Elasticsearch's reply to a bulk request means for each item.
//!
//! In the flow: `bulk_request` → **`bulk_response`** → `retry` or `dead_letter`.
//! Upholds EO-1 (only a 200 or 201 is an acknowledgement) and EO-5 (only what can
//! never be indexed is rejected). Judged by status and error type; what is not
//! known holds the flow, because a wrong guess would drop events.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::cause::{HoldCause, RetryCause};
use crate::dead_letter::Rejection;
#[cfg(logflow_mutants)]
use crate::mutant::Mutant;

/// The part of a bulk reply that is judged; ask for no more (`filter_path`).
pub const FILTER_PATH: &str = "errors,items.*.status,items.*.result,items.*.error.type,items.*.error.reason,items.*.error.caused_by.type,items.*.error.caused_by.reason";

/// The longest reason that is kept of one error.
const REASON_BYTES_MAX: usize = 2_000;

/// What becomes of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemVerdict {
    /// All in-sync copies hold it. `updated` if they held it before.
    Indexed {
        /// A duplicate was suppressed.
        updated: bool,
    },
    /// The same item again.
    Retry(RetryCause, Arc<str>),
    /// The same item again, slowly, and somebody must act.
    Hold(HoldCause, Arc<str>),
    /// It does not fit a mapping that another document may have made in the
    /// same moment: another try tells whether it can ever be indexed.
    Suspect(Rejection),
    /// It can never be indexed.
    Reject(Rejection),
}

/// After so many refusals for its mapping, the mapping is no longer new, and what
/// does not fit it never will: the first try that meets a finished one knows.
const SUSPICIONS_MAX: u32 = 3;

impl ItemVerdict {
    /// The verdict that counts for an item that was suspected so often before.
    #[must_use]
    pub fn after(self, suspicions: u32) -> Self {
        match self {
            Self::Suspect(rejection) if suspicions >= SUSPICIONS_MAX => Self::Reject(rejection),
            verdict => verdict,
        }
    }
}

/// What becomes of a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestVerdict {
    /// One verdict an item, in order.
    Items(Vec<ItemVerdict>),
    /// All of it again.
    Retry(RetryCause, String),
    /// All of it again, slowly, and somebody must act.
    Hold(HoldCause, String),
    /// It is too large, or one of its items spoils it: again in halves. What
    /// becomes of the item if it is alone stands inside.
    Split(ItemVerdict),
}

/// The verdict on a reply to a request of `n_items`.
#[must_use]
pub fn judge(status: u16, body: &[u8], n_items: usize) -> RequestVerdict {
    let error = || RequestError::read(body);
    match status {
        200 => judge_items(body, n_items),
        400 => {
            let error = error();
            match judge_refused(&error) {
                // It finds fault with the request, not with one of its items,
                // so that no half of it fares better.
                ItemVerdict::Hold(cause, why) if error.kind == ILLEGAL_ARGUMENT => {
                    RequestVerdict::Hold(cause, why.to_string())
                }
                // Nothing that Elasticsearch says: a proxy, or another port than meant.
                ItemVerdict::Hold(cause, why) if error.kind.is_empty() => {
                    RequestVerdict::Hold(cause, why.to_string())
                }
                alone => RequestVerdict::Split(alone),
            }
        }
        401 => RequestVerdict::Hold(HoldCause::Unauthorized, error().text(status)),
        403 => {
            let error = error();
            RequestVerdict::Hold(forbidden(&error.kind), error.text(status))
        }
        404 => RequestVerdict::Hold(HoldCause::IndexMissing, error().text(status)),
        408 | 409 => RequestVerdict::Retry(RetryCause::Conflict, error().text(status)),
        413 => RequestVerdict::Split(ItemVerdict::Reject(Rejection {
            kind: "request_entity_too_large".to_owned(),
            reason: "Elasticsearch refuses a request with this document alone as too large (413)"
                .to_owned(),
        })),
        429 => RequestVerdict::Retry(RetryCause::Overloaded, error().text(status)),
        500.. => RequestVerdict::Retry(RetryCause::Unavailable, error().text(status)),
        _ => RequestVerdict::Hold(HoldCause::Unexplained, error().text(status)),
    }
}

fn judge_items(body: &[u8], n_items: usize) -> RequestVerdict {
    all_indexed(body, n_items).map_or_else(|| judge_each(body, n_items), RequestVerdict::Items)
}

fn judge_each(body: &[u8], n_items: usize) -> RequestVerdict {
    let unreadable = |why: String| RequestVerdict::Retry(RetryCause::UnreadableReply, why);
    let mut parser = serde_json::Deserializer::from_slice(body);
    match (ReplySeed { n_items })
        .deserialize(&mut parser)
        .and_then(|items| parser.end().map(|()| items))
    {
        Ok(items) if items.len() == n_items => RequestVerdict::Items(items),
        Ok(items) => unreadable(format!(
            "the reply has {} items, the request {n_items}",
            items.len()
        )),
        Err(error) => unreadable(format!("the reply cannot be read: {error}")),
    }
}

/// The verdicts, if the reply says of every item that it is indexed, byte for byte in the words that Elasticsearch uses
/// under [`FILTER_PATH`]. That is nearly every reply, and it needs no parser; whatever differs is left to one.
fn all_indexed(body: &[u8], n_items: usize) -> Option<Vec<ItemVerdict>> {
    const CREATED: &[u8] = br#"{"index":{"result":"created","status":201}}"#;
    const UPDATED: &[u8] = br#"{"index":{"result":"updated","status":200}}"#;
    let mut rest = body.strip_prefix(br#"{"errors":false,"items":["#)?;
    let mut verdicts = Vec::with_capacity(n_items);
    loop {
        let (item, behind) = rest.split_at_checked(CREATED.len())?;
        let updated = item == UPDATED;
        if !updated && item != CREATED {
            return None;
        }
        verdicts.push(ItemVerdict::Indexed { updated });
        rest = match behind.strip_prefix(b",") {
            Some(next) => next,
            None => break (behind == b"]}" && verdicts.len() == n_items).then_some(verdicts),
        };
    }
}

/// One item of a reply. Strings that need no escape are borrowed.
#[derive(Deserialize)]
struct ItemReply<'a> {
    status: u16,
    #[serde(borrow, default)]
    result: Option<&'a str>,
    #[serde(default)]
    error: Option<RequestError>,
}

/// An error as Elasticsearch describes it.
#[derive(Default, Deserialize)]
struct RequestError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<CausedBy>,
}

#[derive(Deserialize)]
struct CausedBy {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
}

impl RequestError {
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: RequestError,
        }
        serde_json::from_slice(body).map_or_else(
            |_| Self {
                reason: Some(String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()),
                ..Self::default()
            },
            |outer: Outer| outer.error,
        )
    }

    fn text(&self, status: u16) -> String {
        match self.kind.as_str() {
            "" => format!("status {status}: {}", self.reason()),
            kind => format!("status {status}, {kind}: {}", self.reason()),
        }
    }

    fn rejection(&self) -> Rejection {
        Rejection {
            kind: self.kind.clone(),
            reason: self.reason(),
        }
    }

    fn reason(&self) -> String {
        let reason = self
            .reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .unwrap_or("no reason given");
        let reason = clipped(reason);
        match &self.caused_by {
            Some(CausedBy {
                kind,
                reason: Some(cause),
            }) => {
                format!("{reason}; caused by {kind}: {}", clipped(cause))
            }
            _ => reason.to_owned(),
        }
    }
}

/// Elasticsearch quotes the value that it refuses, however long it is.
fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES_MAX)]
}

impl ItemReply<'_> {
    fn verdict(self) -> ItemVerdict {
        let error = self.error.unwrap_or_default();
        let text = || Arc::from(error.text(self.status));
        match self.status {
            200 | 201 => ItemVerdict::Indexed {
                updated: self.result == Some("updated"),
            },
            400 => judge_refused(&error),
            401 => ItemVerdict::Hold(HoldCause::Unauthorized, text()),
            #[cfg(logflow_mutants)]
            403 if Mutant::ForbiddenDeadLettered.is_on() => ItemVerdict::Reject(error.rejection()),
            403 => ItemVerdict::Hold(forbidden(&error.kind), text()),
            // A disk is full: this is how Elasticsearch makes an index read-only by itself.
            429 if error.kind == CLUSTER_BLOCK => {
                ItemVerdict::Hold(HoldCause::IndexBlocked, text())
            }
            404 => ItemVerdict::Hold(HoldCause::IndexMissing, text()),
            #[cfg(logflow_mutants)]
            409 if Mutant::ConflictAcknowledged.is_on() => ItemVerdict::Indexed { updated: true },
            408 | 409 => ItemVerdict::Retry(RetryCause::Conflict, text()),
            429 => ItemVerdict::Retry(RetryCause::Overloaded, text()),
            500.. => ItemVerdict::Retry(RetryCause::Unavailable, text()),
            _ => ItemVerdict::Hold(HoldCause::Unexplained, text()),
        }
    }
}

const CLUSTER_BLOCK: &str = "cluster_block_exception";
const ILLEGAL_ARGUMENT: &str = "illegal_argument_exception";

fn forbidden(kind: &str) -> HoldCause {
    match kind {
        CLUSTER_BLOCK => HoldCause::IndexBlocked,
        _ => HoldCause::Forbidden,
    }
}

/// A 400. Rejected is only what says that the document itself is at fault,
/// whatever the cluster looks like; replies of Elasticsearch 8.19 to each are in
/// `testdata`, and `mapper_parsing_exception` is what versions before 8.7 and
/// OpenSearch say instead of `document_parsing_exception`.
fn judge_refused(error: &RequestError) -> ItemVerdict {
    if error.kind == ILLEGAL_ARGUMENT && concerns_a_new_mapping(error) {
        return ItemVerdict::Suspect(error.rejection());
    }
    let reject = match error.kind.as_str() {
        "document_parsing_exception"
        | "strict_dynamic_mapping_exception"
        | "not_x_content_exception"
        | "x_content_parse_exception"
        | "json_parse_exception" => true,
        "mapper_parsing_exception" => !concerns_a_template(error),
        ILLEGAL_ARGUMENT => concerns_the_document(error),
        _ => false,
    };
    if reject {
        return ItemVerdict::Reject(error.rejection());
    }
    let cause = match error.kind.as_str() {
        "index_closed_exception" => HoldCause::IndexClosed,
        "validation_exception" => HoldCause::LimitReached,
        _ => HoldCause::Unexplained,
    };
    ItemVerdict::Hold(cause, error.text(400).into())
}

/// `illegal_argument_exception` says all sorts of things: that an ingest
/// pipeline is missing, that an alias has no write index, that the target is a
/// data stream, but also that a document does not fit. Here alone the words
/// decide, and only known ones reject: new words hold, and lose nothing.
fn concerns_the_document(error: &RequestError) -> bool {
    const KNOWN: [&str; 5] = [
        "Malformed content, found extra data after parsing",
        "Document contains at least one immense term in field",
        "Limit of total fields [",
        "Limit of mapping depth [",
        "The number of nested documents has exceeded the allowed limit",
    ];
    let reason = error.reason.as_deref().unwrap_or_default();
    KNOWN.iter().any(|known| reason.starts_with(known))
}

/// Two shards may map a new field in the same moment, each after its own
/// document; the one that comes second is refused like a document that
/// contradicts itself.
fn concerns_a_new_mapping(error: &RequestError) -> bool {
    let reason = error.reason.as_deref().unwrap_or_default();
    reason.starts_with("mapper [") || reason.starts_with("can't merge a ")
}

/// An index that cannot be created because its template is broken fails with
/// the same type as a document in older versions, and in OpenSearch so does a
/// field whose dynamic template is broken.
fn concerns_a_template(error: &RequestError) -> bool {
    let reason = error.reason.as_deref().unwrap_or_default();
    reason.starts_with("Failed to parse mapping") || reason.starts_with("unknown parameter [")
}

/// Reads `{"errors":…,"items":[{"index":{…}},…]}` in one walk.
struct ReplySeed {
    n_items: usize,
}

impl<'de> DeserializeSeed<'de> for ReplySeed {
    type Value = Vec<ItemVerdict>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReplySeed {
    type Value = Vec<ItemVerdict>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bulk reply")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut verdicts = None;
        while let Some(name) = map.next_key::<&str>()? {
            if name == "items" {
                verdicts = Some(map.next_value_seed(ItemsSeed {
                    n_items: self.n_items,
                })?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        verdicts.ok_or_else(|| serde::de::Error::missing_field("items"))
    }
}

struct ItemsSeed {
    n_items: usize,
}

impl<'de> DeserializeSeed<'de> for ItemsSeed {
    type Value = Vec<ItemVerdict>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed {
    type Value = Vec<ItemVerdict>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a bulk reply")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut verdicts = Vec::with_capacity(self.n_items);
        let mut known = KnownReasons::default();
        while let Some(IndexAction(mut verdict)) = items.next_element()? {
            if let ItemVerdict::Retry(_, why) | ItemVerdict::Hold(_, why) = &mut verdict {
                known.share(why);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
}

/// What a shard or an index says of all its items, and at length, is kept once (EO-6).
#[derive(Default)]
struct KnownReasons(Vec<Arc<str>>);

impl KnownReasons {
    /// Many more are not the word of shards.
    const MAX: usize = 16;

    fn share(&mut self, why: &mut Arc<str>) {
        if let Some(known) = self.0.iter().find(|known| *known == why) {
            *why = Arc::clone(known);
        } else if self.0.len() < Self::MAX {
            self.0.push(Arc::clone(why));
        }
    }
}

/// `{"index":{…}}`: any other action is not an answer to what was asked.
struct IndexAction(ItemVerdict);

impl<'de> Deserialize<'de> for IndexAction {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Action<'a> {
            #[serde(borrow)]
            #[cfg_attr(logflow_mutants, serde(alias = "create"))]
            index: ItemReply<'a>,
        }
        Action::deserialize(parser).map(|action| Self(action.index.verdict()))
    }
}

#[cfg(test)]
mod tests;
