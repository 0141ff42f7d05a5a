//! Single decisions of the machine. What holds over any run is in `tests/simulation`.

use std::num::NonZeroU32;

use super::*;
use crate::mark::{Mark, Outcome, Settled};

const BULK_CONCURRENCY: usize = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The values of its dead letters, and its offsets by partition.
type Transaction = (Vec<String>, Vec<(i32, i64)>);

/// A machine with one partition and a clock.
struct Bench {
    sink: Sink,
    now: Duration,
    next: i64,
    /// Of the records to come.
    mark: Option<Mark>,
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "logs".to_owned(),
        partition,
    }
}

impl Bench {
    fn new(bytes_held_max: usize) -> Self {
        let mut sink = Sink::new(SinkConfig {
            group: "group".to_owned(),
            index_pattern: "logflow-{date}".parse().unwrap(),
            bulk: BulkLimits {
                bytes_max: 1 << 20,
                items_max: 2,
                linger: ms(50),
            },
            bulk_concurrency: BULK_CONCURRENCY,
            bytes_held_max,
            letters_per_transaction_max: 3,
            commit_interval: ms(1_000),
            drain_max: ms(2_000),
            backoff: Backoff {
                first: BACKOFF_FIRST,
                longest: ms(10_000),
            },
            seed: 1,
        });
        let now = ms(1);
        sink.handle(now, Input::Assigned(vec![(at(0), Some(NextOffset(0)))]));
        Self {
            sink,
            now,
            next: 0,
            mark: None,
        }
    }

    fn records(&mut self, count: usize, value: &[u8]) {
        self.records_of(0, count, value);
    }

    fn records_of(&mut self, partition: i32, count: usize, value: &[u8]) {
        for _ in 0..count {
            self.record(partition, 0, value);
        }
    }

    fn record(&mut self, partition: i32, timestamp_ms: i64, value: &[u8]) {
        let record = Record {
            topic: "logs",
            partition,
            offset: Offset(self.next),
            timestamp_ms: Some(timestamp_ms),
            key: None,
            value: Some(value),
            headers: std::iter::empty(),
            mark: self.mark,
        };
        self.sink.record(self.now, &record);
        self.next += 1;
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.sink.poll_command(self.now)).collect()
    }

    /// The bulk requests that go now, with the number of their items.
    fn bulks(&mut self) -> Vec<(BulkId, usize)> {
        let commands = self.commands().into_iter();
        let sent = commands.filter_map(|command| match command {
            Command::SendBulk { bulk, body } => {
                let n_lines = body.iter().filter(|byte| **byte == b'\n').count();
                Some((bulk, n_lines / 2))
            }
            _ => None,
        });
        sent.collect()
    }

    fn letters_and_bulks(&mut self) -> (Vec<DeadLetter>, Vec<BulkId>) {
        let (mut sent, mut bulks) = (Vec::new(), Vec::new());
        for command in self.commands() {
            match command {
                Command::Transact { letters, .. } => sent.extend(letters),
                Command::SendBulk { bulk, .. } => bulks.push(bulk),
                _ => {}
            }
        }
        (sent, bulks)
    }

    /// The transaction that goes now: the values of its dead letters, its offsets.
    fn transaction(&mut self) -> Option<Transaction> {
        let mut commands = self.commands().into_iter();
        commands.find_map(|command| match command {
            Command::Transact { letters, offsets } => {
                let values = letters
                    .into_iter()
                    .map(|letter| String::from_utf8(letter.value.unwrap_or_default()).unwrap());
                let offsets = offsets.into_iter();
                let offsets = offsets.map(|(at, next)| (at.partition, next.0));
                Some((values.collect(), offsets.collect()))
            }
            _ => None,
        })
    }

    fn reply(&mut self, bulk: BulkId, reply: Result<(u16, &str), &str>) {
        let reply = reply.map(|(status, body)| (status, body.as_bytes()));
        let reply = reply.map_err(str::to_owned);
        self.sink.handle(self.now, Input::BulkReply { bulk, reply });
    }

    fn reply_items(&mut self, bulk: BulkId, statuses: &[u16]) {
        let items: Vec<String> = statuses
            .iter()
            .map(|status| match status {
                201 => r#"{"index":{"status":201,"result":"created"}}"#.to_owned(),
                _ => format!(r#"{{"index":{{"status":{status},"error":{{"type":"t"}}}}}}"#),
            })
            .collect();
        let body = format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
        self.reply(bulk, Ok((200, &body)));
    }

    fn transaction_reply(&mut self, result: Result<(), &str>) {
        let result = result.map_err(str::to_owned);
        self.sink.handle(self.now, Input::TransactionReply(result));
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        let status = self.sink.status();
        let mut partitions = status.partitions.iter();
        let own = partitions.find(|own| own.at == at(partition))?;
        own.committed.map(|next| next.0)
    }
}

#[test]
fn a_request_grows_while_it_could_not_go_anyway() {
    let mut bench = Bench::new(1 << 20);
    bench.records(2 * BULK_CONCURRENCY, b"{}");
    bench.records(1, b"{}");
    let sent = bench.bulks();
    assert_eq!(sent.len(), BULK_CONCURRENCY);
    bench.now += ms(60);
    assert_eq!(bench.bulks(), []);
    bench.records(1, b"{}");
    bench.reply_items(sent[0].0, &[201, 201]);
    let next = bench.bulks();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].1, 2);
}

#[test]
fn requests_that_fail_together_are_one_failure() {
    let mut bench = Bench::new(1 << 20);
    bench.records(2 * BULK_CONCURRENCY, b"{}");
    for (bulk, _) in bench.bulks() {
        bench.reply(bulk, Err("connection refused"));
    }
    assert_eq!(bench.bulks(), []);
    let deadline = bench.sink.next_deadline(bench.now);
    assert!(deadline <= bench.now + BACKOFF_FIRST, "{deadline:?}");
    bench.now = deadline;
    let probe = bench.bulks();
    assert_eq!(
        probe.len(),
        1,
        "one request finds out whether it works again"
    );
    bench.reply_items(probe[0].0, &[201, 201]);
    assert_eq!(bench.bulks().len(), BULK_CONCURRENCY - 1);
}

#[test]
fn what_failed_and_left_with_its_partition_fails_no_more() {
    let mut bench = Bench::new(1 << 20);
    bench.records(3, b"{}");
    let failing = |bench: &Bench| bench.sink.status().failing;
    let sent = bench.bulks()[0].0;
    bench.reply(sent, Err("connection refused"));
    bench.sink.handle(
        bench.now,
        Input::CommitReply(Err("no coordinator".to_owned())),
    );
    assert_eq!(failing(&bench).unwrap().text, "connection refused");
    bench.sink.handle(bench.now, Input::Lost(vec![at(0)]));
    bench.now += ms(10_000);
    assert_eq!(bench.bulks(), []);
    assert_eq!(failing(&bench), None);
}

#[test]
fn leftovers_of_several_requests_are_tried_again_together() {
    let mut bench = Bench::new(1 << 20);
    bench.records(2 * BULK_CONCURRENCY, b"{}");
    let sent = bench.bulks();
    for (bulk, _) in &sent[..2] {
        bench.reply_items(*bulk, &[201, 403]);
    }
    bench.reply_items(sent[2].0, &[503, 201]);
    let status = bench.sink.status();
    assert_eq!(status.bulks_waiting, 2, "one that is held, one that is not");
    assert_eq!(status.held.len(), 1);
    assert_eq!(
        (status.held[0].cause, status.held[0].items),
        (HoldCause::Forbidden, 2)
    );
    bench.now += BACKOFF_FIRST;
    let sizes: Vec<usize> = bench.bulks().iter().map(|(_, n_items)| *n_items).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn what_piles_up_behind_one_held_record_is_bounded() {
    let mut bench = Bench::new(20_000);
    bench.records(2, b"{}");
    let (bulk, _) = bench.bulks()[0];
    bench.reply_items(bulk, &[403, 201]);
    for _ in 0..10_000 {
        if !bench.sink.accepts_records() {
            break;
        }
        bench.records(2, b"{}");
        for (bulk, n_items) in bench.bulks() {
            bench.reply_items(bulk, &[201, 201][..n_items]);
        }
    }
    assert!(!bench.sink.accepts_records());
    assert!(bench.sink.status().partitions[0].in_flight <= 3);
    bench.now += ms(10_000);
    for (bulk, n_items) in bench.bulks() {
        bench.reply_items(bulk, &[201, 201][..n_items]);
    }
    assert_eq!(bench.sink.status().bytes_held, 0);
}

#[test]
fn a_dead_letter_goes_out_together_with_the_commit_that_passes_it() {
    let mut bench = Bench::new(1 << 20);
    bench.records(1, b"{}");
    bench.records(1, b"a");
    bench.records(1, b"b");
    bench.now += ms(100);
    let bulk = bench.bulks()[0].0;
    assert_eq!(bench.transaction(), None, "an earlier record is in flight");
    bench.reply_items(bulk, &[201]);
    bench.now += ms(1_000);
    let transaction = (vec!["a".to_owned(), "b".to_owned()], vec![(0, 3)]);
    assert_eq!(bench.transaction(), Some(transaction));
    assert!(matches!(bench.commands()[..], []), "one commit at a time");
    assert_eq!(bench.sink.status().partitions[0].in_flight, 2);
    bench.transaction_reply(Ok(()));
    assert_eq!(bench.sink.status().partitions[0].in_flight, 0);
    assert_eq!(bench.committed(0), Some(3));
    assert_eq!(bench.sink.status().bytes_held, 0);
    assert_eq!(bench.sink.counters().dead_letters["not_an_object"], 2);
}

#[test]
fn a_transaction_that_fails_leaves_everything_as_it_was() {
    let mut bench = Bench::new(1 << 20);
    bench.records(1, b"a");
    bench.now += ms(1_000);
    assert!(bench.transaction().is_some());
    bench.transaction_reply(Err("coordinator not available"));
    assert_eq!(bench.committed(0), Some(0));
    assert_eq!(bench.sink.status().partitions[0].in_flight, 1);
    assert_eq!(
        bench.sink.status().held[0].cause,
        HoldCause::DeadLetterTopic
    );
    bench.now += BACKOFF_FIRST;
    assert!(bench.transaction().is_some(), "it is tried again");
    bench.transaction_reply(Ok(()));
    assert_eq!(bench.sink.status().held, []);
    assert_eq!(bench.committed(0), Some(1));
}

#[test]
fn many_dead_letters_go_out_in_several_transactions_without_a_pause() {
    let mut bench = Bench::new(1 << 20);
    bench.records(8, b"x");
    let mut offsets = Vec::new();
    while let Some((letters, committed)) = bench.transaction() {
        assert!(letters.len() <= 3);
        offsets.extend(committed);
        bench.transaction_reply(Ok(()));
        if bench.sink.status().dead_letters_waiting < 3 {
            bench.now += ms(1_000);
        }
    }
    assert_eq!(offsets, [(0, 3), (0, 6), (0, 8)]);
}

#[test]
fn a_dead_letter_that_can_never_be_sent_stops_no_other_partition() {
    let mut bench = Bench::new(1 << 20);
    let assigned = Input::Assigned(vec![(at(1), None)]);
    bench.sink.handle(bench.now, assigned);
    for value in ["first", "huge", "behind"] {
        bench.records_of(0, 1, value.as_bytes());
    }
    bench.records_of(1, 1, b"small");
    let mut arrived = Vec::new();
    for _ in 0..40 {
        if let Some((letters, _)) = bench.transaction() {
            if letters.iter().any(|value| value == "huge") {
                bench.transaction_reply(Err("message too large"));
            } else {
                bench.transaction_reply(Ok(()));
                arrived.extend(letters);
            }
        }
        if arrived.len() == 2 {
            bench.records_of(1, 1, b"other");
        }
        bench.now = bench.sink.next_deadline(bench.now);
    }
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, ["first", "other", "small"]);
    assert_eq!(bench.committed(0), Some(1), "a barrier, not a gap");
    assert_eq!(
        bench.sink.status().held[0].cause,
        HoldCause::DeadLetterTopic
    );
}

#[test]
fn what_was_read_of_a_topic_that_is_created_again_is_settled_and_commits_nothing_old() {
    let mut bench = Bench::new(1 << 20);
    bench.records(1, b"{}");
    bench.records(1, b"a");
    bench.now += ms(100);
    let bulk = bench.bulks()[0].0;
    let restarted = Input::LogRestarted(vec![at(0)]);
    bench.sink.handle(bench.now, restarted);
    bench.now += ms(1_000);
    assert!(matches!(bench.commands()[..], []));
    bench.reply_items(bulk, &[201]);
    bench.now += ms(1_000);
    // Fenced like every other: with the beginning of the new log.
    let transaction = (vec!["a".to_owned()], vec![(0, 0)]);
    assert_eq!(bench.transaction(), Some(transaction));
    bench.transaction_reply(Ok(()));
    bench.next = 0;
    bench.records(2, b"{}");
    let bulk = bench.bulks()[0].0;
    bench.reply_items(bulk, &[201, 201]);
    bench.now += ms(1_000);
    let [Command::Commit(offsets)] = &bench.commands()[..] else {
        panic!("the new log is committed");
    };
    assert_eq!(offsets[..], [(at(0), NextOffset(2))]);
}

#[test]
fn reading_is_paused_only_if_it_stays_full_and_goes_on_at_half() {
    let mut bench = Bench::new(1_000);
    bench.records(
        2 * BULK_CONCURRENCY,
        &[b"{".as_slice(), &[b' '; 200], b"}"].concat(),
    );
    assert!(!bench.sink.accepts_records());
    let sent = bench.bulks();
    let deadline = bench.sink.next_deadline(bench.now);
    assert_eq!(deadline, bench.now + PAUSE_AFTER);
    bench.now = deadline;
    assert!(matches!(bench.commands()[..], [Command::Pause]));
    assert!(bench.sink.is_paused());
    bench.reply_items(sent[0].0, &[201, 201]);
    assert!(matches!(bench.commands()[..], []));
    for (bulk, _) in &sent[1..] {
        bench.reply_items(*bulk, &[201, 201]);
    }
    assert!(matches!(bench.commands()[..], [Command::Resume]));
    assert!(!bench.sink.is_paused());
}

#[test]
fn a_partition_assigned_during_a_shutdown_takes_no_records() {
    let mut bench = Bench::new(1 << 20);
    bench.sink.handle(bench.now, Input::Shutdown);
    bench
        .sink
        .handle(bench.now, Input::Assigned(vec![(at(1), None)]));
    bench.records_of(1, 1, b"{}");
    assert_eq!(bench.sink.counters().records_ignored, 1);
    let [Command::Release(offsets), Command::Exit] = &bench.commands()[..] else {
        panic!("it ends at once");
    };
    assert_eq!(offsets[..], []);
    assert!(bench.sink.poll_command(bench.now + ms(10_000)).is_none());
}

#[test]
fn the_oldest_record_in_flight_is_told_until_it_is_resolved() {
    let mut bench = Bench::new(1 << 20);
    let oldest = |bench: &Bench| bench.sink.status().oldest_in_flight_ms;
    assert_eq!(oldest(&bench), None);
    for timestamp_ms in [70, 50, 60, 40, 90] {
        bench.record(0, timestamp_ms, b"{}");
    }
    assert_eq!(oldest(&bench), Some(40), "in a request that waits");
    let sent = bench.bulks();
    bench.reply_items(sent[0].0, &[201, 201]);
    assert_eq!(oldest(&bench), Some(40), "on its way");
    bench.reply_items(sent[1].0, &[201, 429]);
    assert_eq!(oldest(&bench), Some(40), "to be tried again");
    bench.now += ms(10_000);
    let again = bench.bulks();
    bench.reply_items(again[0].0, &[201]);
    assert_eq!(oldest(&bench), Some(90), "what was being built");
    bench.reply_items(again[1].0, &[201]);
    assert_eq!(oldest(&bench), None);

    let mut bench = Bench::new(1 << 20);
    bench.record(0, 30, b"no object");
    assert_eq!(oldest(&bench), Some(30), "a dead letter that waits");
    bench.now += ms(10_000);
    assert!(bench.transaction().is_some());
    bench.transaction_reply(Ok(()));
    assert_eq!(oldest(&bench), None);
}

#[test]
fn one_spoiled_document_is_found_by_halving() {
    let mut bench = Bench::new(1 << 20);
    bench.records(2, b"{}");
    let spoiled = r#"{"error":{"type":"x_content_parse_exception","reason":"r"},"status":400}"#;
    let (bulk, _) = bench.bulks()[0];
    bench.reply(bulk, Ok((400, spoiled)));
    let halves = bench.bulks();
    assert_eq!(
        halves
            .iter()
            .map(|(_, n_items)| *n_items)
            .collect::<Vec<_>>(),
        [1, 1]
    );
    bench.reply(halves[0].0, Ok((400, spoiled)));
    bench.reply_items(halves[1].0, &[201]);
    bench.now += ms(1_000);
    assert_eq!(
        bench.transaction().map(|(letters, _)| letters.len()),
        Some(1)
    );
    assert_eq!(bench.sink.status().partitions[0].in_flight, 1);
}

#[test]
fn a_marked_record_is_told_of_when_it_is_settled_and_with_each_bulk_that_carries_it() {
    let mut bench = Bench::new(1 << 20);
    let mark = |number| Mark(NonZeroU32::new(number).unwrap());
    let settled = |number, outcome, records| Settled {
        mark: mark(number),
        outcome,
        records,
    };
    for (number, value) in [(1, &b"{}"[..]), (1, b"{}"), (2, b"{}"), (3, b"none")] {
        bench.mark = Some(mark(number));
        bench.record(0, 0, value);
    }
    bench.mark = None;
    bench.record(0, 0, b"{}");
    // No bulk request ever carries what is no object.
    let told = bench.sink.take_settled_marks();
    assert_eq!(told, [settled(3, Outcome::Rejected, 1)]);
    let bulks = bench.bulks();
    let of = |bench: &Bench, n: usize| bench.sink.marks_of(bulks[n].0).collect::<Vec<_>>();
    assert_eq!(of(&bench, 0), [mark(1), mark(1)]);
    assert_eq!(of(&bench, 1), [mark(2)]);
    bench.reply_items(bulks[0].0, &[201, 201]);
    bench.reply_items(bulks[1].0, &[429, 201]);
    let told = bench.sink.take_settled_marks();
    assert_eq!(told, [settled(1, Outcome::Indexed, 2)]);
    bench.now += ms(20_000);
    let again = bench.bulks();
    let carried: Vec<Mark> = bench.sink.marks_of(again[0].0).collect();
    assert_eq!(carried, [mark(2)]);
    let spoiled = r#"{"error":{"type":"x_content_parse_exception","reason":"r"},"status":400}"#;
    bench.reply(again[0].0, Ok((400, spoiled)));
    let told = bench.sink.take_settled_marks();
    assert_eq!(told, [settled(2, Outcome::Rejected, 1)]);
}

#[test]
fn a_partition_is_given_back_when_its_records_are_settled() {
    let mut bench = Bench::new(1 << 20);
    bench.records(3, b"{}");
    bench.sink.handle(bench.now, Input::Revoked(vec![at(0)]));
    let sent = bench.bulks();
    assert_eq!(sent.len(), 2, "what was being built goes at once");
    bench.reply_items(sent[0].0, &[201, 201]);
    assert!(matches!(bench.commands()[..], []));
    bench.reply_items(sent[1].0, &[201]);
    let [Command::Release(offsets)] = &bench.commands()[..] else {
        panic!("it is drained");
    };
    assert_eq!(offsets[..], [(at(0), NextOffset(3))]);
    assert_eq!(bench.sink.status().partitions, []);
}

#[test]
fn a_partition_is_given_back_in_time_even_if_its_records_are_not_settled() {
    let mut bench = Bench::new(1 << 20);
    bench.records(4, b"{}");
    let sent = bench.bulks();
    bench.reply_items(sent[0].0, &[201, 201]);
    bench.sink.handle(bench.now, Input::Revoked(vec![at(0)]));
    bench.now += ms(1_999);
    assert!(matches!(bench.commands()[..], []));
    assert_eq!(bench.sink.next_deadline(bench.now), bench.now + ms(1));
    bench.now += ms(1);
    let [Command::Release(offsets)] = &bench.commands()[..] else {
        panic!("there is no more time");
    };
    assert_eq!(offsets[..], [(at(0), NextOffset(2))]);
    bench.reply_items(sent[1].0, &[201, 201]);
    assert!(matches!(bench.commands()[..], []));
    assert_eq!(bench.sink.status().bytes_held, 0);
}

/// A document that lost the race for a new field's mapping fits at the next
/// try; one that contradicts itself never does.
#[test]
fn what_does_not_fit_a_new_mapping_is_tried_again_before_it_is_rejected() {
    let conflict = r#"{"errors":true,"items":[{"index":{"status":400,"error":{"type":"illegal_argument_exception","reason":"mapper [k] cannot be changed from type [long] to [double]"}}}]}"#;
    let mut bench = Bench::new(1 << 20);
    bench.records(1, br#"{"k":[1,2.5]}"#);
    let mut tries = 0;
    let letters = loop {
        bench.now += ms(10_000);
        let mut letters = bench.letters_and_bulks();
        if let Some(bulk) = letters.1.pop() {
            tries += 1;
            bench.reply(bulk, Ok((200, conflict)));
        }
        if !letters.0.is_empty() || tries > 20 {
            break letters.0;
        }
    };
    assert_eq!((tries, letters.len()), (4, 1));

    let mut bench = Bench::new(1 << 20);
    bench.records(1, br#"{"k":2.5}"#);
    bench.now += ms(10_000);
    let bulk = bench.bulks()[0].0;
    bench.reply(bulk, Ok((200, conflict)));
    bench.now += ms(10_000);
    let bulk = bench.bulks()[0].0;
    bench.reply_items(bulk, &[201]);
    bench.now += ms(10_000);
    assert_eq!(bench.transaction(), None);
    assert_eq!(bench.sink.counters().indexed, 1);
}
