//! The live tail as its client sees it: what it asks for, and the server-sent events that it gets.
//!
//! In the flow: `routes` → **`tail`** → `tail_reader` → **`tail`** → the client.
//! The format is that of the HTML standard, §9.2 (Server-sent events): three kinds of events,
//! `log`, `dropped` and `status`, and ids with which a client goes on where it was.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use log_event::tenant::Tenant;
use serde::Serialize;

use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary, invalid};
use crate::query::parser;
use crate::query::tree::Query;

/// The header in which a client that comes back sends the last id it saw.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRequest {
    /// What an event must be like.
    pub query: Query,
    /// Where to go on; without it, from now on.
    pub after: Option<Position>,
    /// Whose events may be seen; `None`: everybody's.
    pub tenant: Option<Tenant>,
}

pub(crate) const PARAMETERS: &Vocabulary = &[("q", Parameter::Query), ("after", Parameter::After)];

impl TailRequest {
    /// Reads the query string, and the header [`LAST_EVENT_ID`], which counts if there is no `after`.
    ///
    /// # Errors
    /// [`RequestError`] names the offender.
    pub fn read(
        query: &str,
        last_event_id: Option<&str>,
        tenant: Option<&Tenant>,
        bound: RangeBound,
    ) -> Result<Self, RequestError> {
        let mut given = Given::in_query_string(PARAMETERS, query)?;
        let after = given.text(Parameter::After)?.map(|(_, after)| after);
        let after = after
            .as_deref()
            .or(last_event_id)
            .map(str::parse)
            .transpose();
        let query = match given.text(Parameter::Query)? {
            None => Query::All,
            Some((parameter, text)) => parser::parse(&text, bound.now)
                .map_err(|error| RequestError::Query { parameter, error })?,
        };
        Ok(Self {
            query,
            after: after.map_err(|error: NoPosition| invalid("after", error))?,
            tenant: tenant.cloned(),
        })
    }
}

/// How far each partition is read: the offset of the next record, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<i32, i64>);

/// Why a text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no position; send the last `id` that was received, such as `0:15,1:20`")]
pub struct NoPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (partition, offset)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let read = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            let partition = partition
                .parse()
                .ok()
                .filter(|partition: &i32| *partition >= 0)?;
            let offset = offset.parse().ok().filter(|offset: &i64| *offset >= 0)?;
            Some((partition, offset))
        };
        let mut position = BTreeMap::new();
        for part in text.split(',') {
            let (partition, offset) = read(part).ok_or(NoPosition)?;
            if position.insert(partition, offset).is_some() {
                return Err(NoPosition);
            }
        }
        Ok(Self(position))
    }
}

/// What a tail has done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Records read.
    pub read: u64,
    /// Those among them that match.
    pub matched: u64,
    /// Those among them that were not sent, because the client was too slow.
    pub dropped: u64,
    /// What is wrong with Kafka, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Events on their way to one client, as text.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    events: u64,
}

impl Batch {
    /// Adds an event.
    pub fn add(&mut self, id: &str, event: &[u8]) {
        let id = serde_json::to_string(id).expect("a text is JSON");
        let head = format!("event: log\ndata: {{\"id\":{id},\"event\":");
        self.text.extend(head.into_bytes());
        self.text.extend(on_one_line(event));
        self.text.extend(b"}\n\n");
        self.events += 1;
    }

    /// How many events it has.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How large it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The whole text: first how many events were dropped since the batch before, if any were; last where it ends.
    #[must_use]
    pub fn finish(self, dropped: u64, progress: &Progress, position: &Position) -> Bytes {
        let mut text = Vec::new();
        if dropped > 0 {
            text.extend(format!("event: dropped\ndata: {{\"count\":{dropped}}}\n\n").into_bytes());
        }
        text.extend(self.text);
        let progress = serde_json::to_string(progress).expect("texts and numbers are JSON");
        text.extend(format!("event: status\nid: {position}\ndata: {progress}\n\n").into_bytes());
        text.into()
    }
}

/// JSON without the line breaks that it may have between its members.
pub(crate) fn on_one_line(json: &[u8]) -> impl Iterator<Item = u8> {
    json.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use log_event::timestamp::Timestamp;
    use proptest::prelude::*;

    fn read(query: &str, last: Option<&str>) -> Result<TailRequest, RequestError> {
        let now = Timestamp::from_nanos(0).unwrap();
        TailRequest::read(query, last, None, RangeBound { max: None, now })
    }

    #[test]
    fn a_client_goes_on_where_it_was() {
        let position = |text: &str| Some(text.parse::<Position>().unwrap());
        assert_eq!(read("", None).unwrap().after, None);
        assert_eq!(read("", Some("0:5")).unwrap().after, position("0:5"));
        assert_eq!(
            read("after=1:7", Some("0:5")).unwrap().after,
            position("1:7")
        );
        for after in [
            "0",
            "0:",
            "0:-1",
            "-1:0",
            "0:1,0:2",
            "a:b",
            "0:1,",
            "0:99999999999999999999",
        ] {
            assert!(read(&format!("after={after}"), None).is_err(), "{after}");
        }
        let error = read("q=(a", None).unwrap_err();
        assert_eq!(error.column(), Some(1));
    }

    #[test]
    fn a_batch_tells_what_was_dropped_and_where_it_ends() {
        let mut batch = Batch::default();
        batch.add("a\"b", b"{\"message\":\r\n\"x\\ny\"}");
        assert_eq!(batch.events(), 1);
        let progress = Progress {
            read: 9,
            matched: 3,
            dropped: 2,
            problem: None,
        };
        let position = "0:5,3:7".parse().unwrap();
        let text = batch.finish(2, &progress, &position);
        expect![[r#"
            event: dropped
            data: {"count":2}

            event: log
            data: {"id":"a\"b","event":{"message":  "x\ny"}}

            event: status
            id: 0:5,3:7
            data: {"read":9,"matched":3,"dropped":2}

        "#]]
        .assert_eq(std::str::from_utf8(&text).unwrap());
        let text = Batch::default().finish(0, &Progress::default(), &position);
        assert!(text.starts_with(b"event: status\n"));
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(position in prop::collection::btree_map(0..999i32, 0..i64::MAX, 1..9)) {
            let position = Position(position);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
}
