//! Turns records into the lines of a `_bulk` body; the order of the items is
//! the order of the reply.
//!
//! In the flow: `offset_tracker` → **`bulk_request`** → `batcher`. Upholds EO-3.
//! A record's value is copied once, into the body, and never parsed; what makes
//! it a line is checked, because one line out of frame fails a whole request
//! (Elasticsearch bulk API documentation, "newline delimited").

use bytes::Bytes;
use log_event::offset::Offset;

use crate::assignment::Ticket;
use crate::mark::Mark;

/// A record as Kafka delivers it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a, H> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its Kafka timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers in order.
    pub headers: H,
    /// What the caller wants to recognise it by.
    pub mark: Option<Mark>,
}

/// Why a value cannot even be offered to Elasticsearch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unframeable {
    /// A tombstone.
    NoValue,
    /// Nothing that begins with `{` and ends with `}`.
    NotAnObject,
}

/// One document of a bulk request.
#[derive(Debug)]
pub struct Item {
    /// Its record in flight.
    pub ticket: Ticket,
    /// Its record's Kafka timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// What the caller recognises it by.
    pub mark: Option<Mark>,
    /// Where its action line starts in the body.
    start: u32,
    /// Where its source line starts.
    source: u32,
    /// Where its envelope starts.
    envelope: u32,
}

/// A `_bulk` body and what is needed to settle its items.
#[derive(Debug, Default)]
pub struct BulkRequest {
    body: Vec<u8>,
    items: Vec<Item>,
    /// Beside each item what the document does not hold of its record (key,
    /// headers), for the dead letter that it may become.
    envelopes: Vec<u8>,
    /// Of the items' records.
    oldest_ms: Option<i64>,
}

/// A bulk request that is complete: its body can be sent any number of times.
#[derive(Debug)]
pub struct SealedRequest {
    body: Bytes,
    items: Vec<Item>,
    envelopes: Vec<u8>,
    oldest_ms: Option<i64>,
}

/// A record's own parts, copied out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordParts {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its Kafka timestamp.
    pub timestamp_ms: Option<i64>,
}

impl RecordParts {
    /// Copies the parts of a record.
    pub fn of<'a, H>(record: &Record<'a, H>) -> Self
    where
        H: Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    {
        Self {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .clone()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
            timestamp_ms: record.timestamp_ms,
        }
    }

    /// About how many bytes the parts hold.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| 48 + name.len() + length(value));
        128 + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// The bytes of a value that can stand on a line as a document.
///
/// # Errors
/// [`Unframeable`] if they cannot.
pub fn framed(value: Option<&[u8]>) -> Result<&[u8], Unframeable> {
    let value = value.ok_or(Unframeable::NoValue)?.trim_ascii();
    match value {
        [b'{', .., b'}'] => Ok(value),
        _ => Err(Unframeable::NotAnObject),
    }
}

impl BulkRequest {
    /// An empty request whose body grows without copying up to `body_bytes`.
    #[must_use]
    pub fn with_capacity(body_bytes: usize) -> Self {
        Self {
            body: Vec::with_capacity(body_bytes),
            ..Self::default()
        }
    }

    /// Adds a record's document. `value` is what [`framed`] gave.
    pub fn push<'a, H>(
        &mut self,
        ticket: Ticket,
        index: &str,
        id: &str,
        value: &[u8],
        record: &Record<'a, H>,
    ) where
        H: Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    {
        let start = position(&self.body);
        self.body.extend_from_slice(b"{\"index\":{\"_index\":\"");
        self.body.extend_from_slice(index.as_bytes());
        self.body.extend_from_slice(b"\",\"_id\":");
        push_json_string(&mut self.body, id);
        self.body.extend_from_slice(b"}}\n");
        #[cfg(logflow_mutants)]
        crate::mutant::action(&mut self.body, start);
        let source = position(&self.body);
        self.body.extend_from_slice(value);
        let changed = blank_line_breaks(&mut self.body[source as usize..]);
        self.body.push(b'\n');
        let envelope = position(&self.envelopes);
        let original = (changed || record.value.is_some_and(|whole| whole.len() != value.len()))
            .then_some(record.value)
            .flatten();
        push_envelope(&mut self.envelopes, record, original);
        let timestamp_ms = record.timestamp_ms;
        self.oldest_ms = earlier(self.oldest_ms, timestamp_ms);
        self.items.push(Item {
            ticket,
            timestamp_ms,
            mark: record.mark,
            start,
            source,
            envelope,
        });
    }

    #[cfg(logflow_mutants)]
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The body's length in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// What the request holds in memory, about.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.body.len() + self.envelopes.len() + self.items.len() * size_of::<Item>()
    }

    /// The earliest Kafka timestamp of its records, in milliseconds since the epoch.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }

    /// How long the body may grow without a copy.
    #[must_use]
    pub fn body_capacity(&self) -> usize {
        self.body.capacity()
    }

    /// How many items it has.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Ends the building.
    #[must_use]
    pub fn seal(mut self) -> SealedRequest {
        // A small request may wait for long; it does not keep room for a large one.
        if self.body.len() < self.body.capacity() / 2 {
            self.body.shrink_to_fit();
        }
        SealedRequest {
            body: Bytes::from(self.body),
            items: self.items,
            envelopes: self.envelopes,
            oldest_ms: self.oldest_ms,
        }
    }
}

impl SealedRequest {
    /// The body; cheap to clone.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The items in the order of the body.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What the request holds in memory, about.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.body.len() + self.envelopes.len() + self.items.len() * size_of::<Item>()
    }

    /// The earliest Kafka timestamp of its records, in milliseconds since the epoch.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }

    /// The record of the item at `index`, copied out again.
    ///
    /// # Panics
    /// If there is no such item.
    #[must_use]
    pub fn record_parts(&self, index: usize) -> RecordParts {
        let item = &self.items[index];
        let envelope = &self.envelopes[item.envelope as usize..self.envelope_end(index)];
        let (key, headers, original) = read_envelope(envelope);
        let source = &self.body[item.source as usize..self.body_end(index) - 1];
        RecordParts {
            key,
            value: Some(original.unwrap_or_else(|| source.to_vec())),
            headers,
            timestamp_ms: item.timestamp_ms,
        }
    }

    /// Settles some of the items and sorts the others into new requests, with
    /// the same bytes in the same order. `sort` gives an item back with the
    /// number of its group, or keeps it. What is left is an empty request in
    /// the memory of this one, if nobody else uses its body any more.
    #[must_use]
    pub fn regroup<const GROUPS: usize>(
        mut self,
        mut sort: impl FnMut(usize, Item) -> Option<(usize, Item)>,
    ) -> ([Option<Self>; GROUPS], Option<BulkRequest>) {
        let mut groups: [BulkRequest; GROUPS] = std::array::from_fn(|_| BulkRequest::default());
        let mut emptied = std::mem::take(&mut self.items);
        let mut items = emptied.drain(..).enumerate().peekable();
        while let Some((index, item)) = items.next() {
            let next = items.peek().map(|(_, next)| next);
            let body_end = next.map_or(self.body.len(), |next| next.start as usize);
            let envelope_end = next.map_or(self.envelopes.len(), |next| next.envelope as usize);
            let Some((group, item)) = sort(index, item) else {
                continue;
            };
            let kept = &mut groups[group];
            let start = position(&kept.body);
            let source = start + (item.source - item.start);
            let envelope = position(&kept.envelopes);
            kept.body
                .extend_from_slice(&self.body[item.start as usize..body_end]);
            kept.envelopes
                .extend_from_slice(&self.envelopes[item.envelope as usize..envelope_end]);
            kept.oldest_ms = earlier(kept.oldest_ms, item.timestamp_ms);
            kept.items.push(Item {
                start,
                source,
                envelope,
                ..item
            });
        }
        drop(items);
        let groups = groups.map(|group| (group.n_items() > 0).then(|| group.seal()));
        let spare = self.body.is_unique().then(|| {
            let (mut body, mut envelopes) = (Vec::from(self.body), self.envelopes);
            body.clear();
            envelopes.clear();
            BulkRequest {
                body,
                items: emptied,
                envelopes,
                oldest_ms: None,
            }
        });
        (groups, spare)
    }

    /// Takes the items of another request in, behind its own.
    pub fn append(&mut self, other: Self) {
        let start = position(&self.body);
        let envelope = position(&self.envelopes);
        // Without a copy, unless an earlier try still holds the body.
        let mut body = Vec::from(std::mem::take(&mut self.body));
        body.extend_from_slice(&other.body);
        self.body = Bytes::from(body);
        self.oldest_ms = earlier(self.oldest_ms, other.oldest_ms);
        self.envelopes.extend_from_slice(&other.envelopes);
        self.items.extend(other.items.into_iter().map(|item| Item {
            start: start + item.start,
            source: start + item.source,
            envelope: envelope + item.envelope,
            ..item
        }));
    }

    fn body_end(&self, index: usize) -> usize {
        self.items
            .get(index + 1)
            .map_or(self.body.len(), |next| next.start as usize)
    }

    fn envelope_end(&self, index: usize) -> usize {
        self.items
            .get(index + 1)
            .map_or(self.envelopes.len(), |next| next.envelope as usize)
    }
}

/// The earlier of two times, as far as there are any.
pub(crate) fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn position(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a bulk request is far smaller than 4 GiB")
}

/// What stands for itself in a JSON string, of the bytes that ids are usually made of.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        byte += 1;
    }
    plain
};

fn push_json_string(body: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        body.push(b'"');
        body.extend_from_slice(text.as_bytes());
        body.push(b'"');
    } else {
        serde_json::to_writer(body, text).expect("a string always has a JSON form");
    }
}

/// In JSON a raw line break is white space between tokens, so a blank says the
/// same; inside a string it is no JSON, and stays none. Says whether there was one.
fn blank_line_breaks(line: &mut [u8]) -> bool {
    let mut start = 0;
    let mut changed = false;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &line[start..]) {
        line[start + found] = b' ';
        start += found + 1;
        changed = true;
    }
    changed
}

const ABSENT: u32 = u32::MAX;

fn push_part(envelopes: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(ABSENT, position);
    envelopes.extend_from_slice(&length.to_le_bytes());
    envelopes.extend_from_slice(part.unwrap_or_default());
}

fn take_part(envelope: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = envelope
        .split_first_chunk()
        .expect("an envelope is read as it was written");
    let length = u32::from_le_bytes(*length);
    *envelope = rest;
    if length == ABSENT {
        return None;
    }
    let (part, rest) = envelope.split_at(length as usize);
    *envelope = rest;
    Some(part.to_vec())
}

fn push_envelope<'a, H>(envelopes: &mut Vec<u8>, record: &Record<'a, H>, original: Option<&[u8]>)
where
    H: Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
{
    push_part(envelopes, record.key);
    push_part(envelopes, original);
    for (name, value) in record.headers.clone() {
        push_part(envelopes, Some(name.as_bytes()));
        push_part(envelopes, value);
    }
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

fn read_envelope(mut envelope: &[u8]) -> (Option<Vec<u8>>, Headers, Option<Vec<u8>>) {
    let key = take_part(&mut envelope);
    let original = take_part(&mut envelope);
    let mut headers = Vec::new();
    while !envelope.is_empty() {
        let name = take_part(&mut envelope).unwrap_or_default();
        let value = take_part(&mut envelope);
        headers.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    (key, headers, original)
}

#[cfg(test)]
mod tests;
