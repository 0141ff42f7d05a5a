//! The promises, each at the moment at which it could be broken.

use es_sink_core::dead_letter::DeadLetter;

use crate::kafka::ToCommit;
use crate::truth::{At, Nature, TOPICS};
use crate::world::World;

/// The largest record with its action line.
const RECORD_BYTES_MAX: usize = 600;
/// A dead letter in the making is larger than the item that it was.
const LETTER_BYTES_MAX: usize = 1_000;

impl World {
    /// EO-3: an event has the same id, index and bytes whenever it is sent.
    pub(crate) fn same_as_ever(&mut self, event: usize, action: &[u8], source: &[u8]) {
        let identity = &mut self.truth.events[event].identity;
        let (first_action, first_source) =
            identity.get_or_insert_with(|| (action.to_vec(), source.to_vec()));
        assert!(
            first_action == action && first_source == source,
            "EO-3: event {event} was {} and is {}",
            String::from_utf8_lossy(first_action),
            String::from_utf8_lossy(action),
        );
    }

    pub(crate) fn document_appears(&mut self, event: usize, key: &[u8]) {
        let other = self.truth.events[event].document.replace(key.to_vec());
        assert!(other.is_none(), "EO-4: event {event} is a document twice");
    }

    pub(crate) fn document_disappears(&mut self, event: usize) {
        let event = &mut self.truth.events[event];
        assert!(!event.is_durable, "what is acknowledged is kept");
        event.document = None;
    }

    pub(crate) fn is_overwritten(&self, key: &[u8], before: usize, event: usize) {
        assert!(
            before == event,
            "EO-4: event {event} overwrites the document of event {before}, {}",
            String::from_utf8_lossy(key)
        );
    }

    /// EO-5, and that nothing of the original is lost; the record's number.
    pub(crate) fn is_faithful(&self, letter: &DeadLetter, number: usize) -> usize {
        let record = &self.truth.records[number];
        let nature = self.truth.events[record.event].nature;
        assert!(
            !nature.is_indexable(),
            "EO-5: what can be indexed becomes a dead letter: {}, for {:?}",
            self.describe(number),
            letter
                .headers
                .iter()
                .map(|(_, value)| value.as_deref().map(String::from_utf8_lossy))
                .rev()
                .take(2)
        );
        let original = record.headers.iter();
        let same_headers = original
            .zip(&letter.headers)
            .all(|((name, value), (kept, kept_value))| name == kept && value == kept_value);
        assert!(
            letter.value == record.value
                && letter.timestamp_ms == record.timestamp_ms
                && letter.headers.len() >= record.headers.len()
                && same_headers,
            "EO-4: a dead letter is not its original: {letter:?}"
        );
        number
    }

    /// EO-4: a dead letter can be read once.
    pub(crate) fn letter_is_readable(&mut self, number: usize) {
        let record = &mut self.truth.records[number];
        record.letters += 1;
        assert!(
            record.letters <= record.letters_max,
            "EO-4: dead-lettered again: {}",
            self.describe(number)
        );
    }

    /// EO-1: a commit passes nothing that is not settled, or becomes so with it.
    pub(crate) fn passes_only_what_is_settled(
        &mut self,
        p: usize,
        at: At,
        topic_id: u32,
        next: i64,
        letters: &[usize],
    ) {
        if self.kafka.topic_ids[at.topic] != topic_id {
            // It says something about a log that is gone, and whoever finds it ignores it.
            return;
        }
        let log = self.kafka.logs.get_mut(&at).expect("it exists");
        while let Some(number) = log.records.get(log.n_settled)
            && self.truth.is_settled(*number)
        {
            log.n_settled += 1;
        }
        let open = log.records[log.n_settled..].iter().find(|number| {
            self.truth.records[**number].offset < next
                && !letters.contains(number)
                && !self.truth.is_settled(**number)
        });
        if let Some(open) = open.copied() {
            panic!(
                "EO-1: sink {p} commits {at} to {next}, past {}",
                self.describe(open)
            );
        }
    }

    /// EO-4: whoever reads from the offsets on does not meet the letter's record
    /// again. Of a log that is gone, or that was set back, there is nothing to pass.
    pub(crate) fn passes_its_letter(&self, number: usize, offsets: &[ToCommit]) {
        let record = &self.truth.records[number];
        let passed = offsets
            .iter()
            .filter(|offset| offset.at == record.at)
            .all(|offset| offset.offset > record.offset || offset.topic_id != record.topic_id);
        let named = offsets.iter().any(|offset| offset.at == record.at);
        let gone = record.optional
            || record.letters_max > 1
            || record.topic_id != self.kafka.topic_ids[record.at.topic];
        assert!(
            gone || (passed && named),
            "EO-4: {offsets:?} does not pass {}",
            self.describe(number)
        );
    }

    /// EO-6: what is held is bounded by what the operator allows.
    pub(crate) fn check_memory(&self, p: usize) {
        let process = &self.processes[p];
        let status = process.sink.status();
        let letters = status.dead_letters_waiting * LETTER_BYTES_MAX;
        let bound = process.config.bytes_held_max + RECORD_BYTES_MAX + letters;
        assert!(
            status.bytes_held <= bound,
            "EO-6: sink {p} holds more than {bound} bytes: {status:?}"
        );
        assert!(
            status.bulks_in_flight <= process.config.bulk_concurrency,
            "EO-6: sink {p} sends too much at once: {status:?}"
        );
    }

    /// EO-4: at rest every record that Kafka has not lost is a document or a
    /// dead letter, and nothing is both.
    pub(crate) fn check_rest(&mut self) {
        for number in 0..self.truth.records.len() {
            let record = &self.truth.records[number];
            let event = &self.truth.events[record.event];
            let is_document = event.document.is_some();
            let is_dead = record.letters > 0;
            let lost = !record.optional && !is_document && !is_dead;
            assert!(!lost, "EO-4: missing: {}", self.describe(number));
            let both = is_document && is_dead;
            assert!(
                !both,
                "EO-4: document and dead letter: {}",
                self.describe(number)
            );
            assert!(
                is_document == event.is_durable,
                "EO-4: not acknowledged: {}",
                self.describe(number)
            );
        }
        for p in 0..self.processes.len() {
            self.note_counters(p);
            let process = &self.processes[p];
            let status = process.sink.status();
            assert!(
                !process.is_running || (status.bytes_held == 0 && status.held.is_empty()),
                "EO-6: sink {p} holds something at rest: {status:?}"
            );
            assert!(
                !process.is_running || status.failing.is_none(),
                "EO-5: sink {p} raises an alarm at rest: {status:?}"
            );
        }
    }

    /// What the core has counted has happened.
    pub(crate) fn note_counters(&mut self, p: usize) {
        let counters = self.processes[p].sink.counters();
        let counted = [
            ("indexed", counters.indexed),
            ("updated", counters.updated),
            ("split", counters.bulks_split),
            ("dead letter retried", counters.dead_letter_retries),
            ("commit failed", counters.commits_failed),
            ("late record ignored", counters.records_ignored),
        ];
        let counted = counted.into_iter().filter(|(_, count)| *count > 0);
        self.seen.extend(counted.map(|(what, _)| what));
        self.seen
            .extend(counters.retries.keys().map(|cause| cause.label()));
        self.seen
            .extend(counters.holds.keys().map(|cause| cause.label()));
        self.seen.extend(counters.dead_letters.keys());
    }

    /// A record and what has become of it, for people.
    pub(crate) fn describe(&self, number: usize) -> String {
        let record = &self.truth.records[number];
        let event = &self.truth.events[record.event];
        let At { topic, partition } = record.at;
        let became = match (&event.document, record.letters) {
            (Some(_), 0) if event.is_durable => "document".to_owned(),
            (Some(_), 0) => "document, not synced yet".to_owned(),
            (None, 0) => "nothing yet".to_owned(),
            (document, letters) => format!(
                "{letters} dead letters of at most {}{}",
                record.letters_max,
                if document.is_some() {
                    ", and document"
                } else {
                    ""
                }
            ),
        };
        let nature = match event.nature {
            Nature::Good => String::new(),
            other => format!(", {other:?}"),
        };
        format!(
            "record {number} ({}[{partition}] offset {}, topic id {}, event {}{nature}: {became}{})",
            TOPICS[topic],
            record.offset,
            record.topic_id,
            record.event,
            if record.optional {
                ", lost by Kafka"
            } else {
                ""
            },
        )
    }
}
