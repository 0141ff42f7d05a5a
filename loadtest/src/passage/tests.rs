//! Each fault, byte by byte and millisecond by millisecond.

use proptest::prelude::*;

use super::*;
use Direction::{Down, Up};

const HEALTHY: Plan = Plan {
    delay: None,
    throttle: None,
    drop_upstream: false,
    drop_downstream: false,
    reset_after: None,
    freeze: false,
    refuse: false,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn passage(plan: Plan) -> Passage {
    Passage::new(plan, 1)
}

fn text(passage: &mut Passage, at: u64, direction: Direction, text: &'static str) -> usize {
    passage.read(ms(at), direction, Bytes::from_static(text.as_bytes()))
}

/// What `next` says at a time, in short: what may be read, written and closed.
fn told(passage: &Passage, at: u64) -> String {
    let one = |step: Step| {
        let read = if step.read { "read " } else { "" };
        let close = if step.close { "close " } else { "" };
        format!("{read}{close}{}", step.write)
    };
    match passage.next(ms(at)) {
        Next::Reset => "reset".to_owned(),
        Next::Over => "over".to_owned(),
        Next::Go { up, down, wake } => {
            let wake = wake.map_or("-".to_owned(), |wake| wake.as_millis().to_string());
            format!("up {} | down {} | {wake}", one(up), one(down))
        }
    }
}

#[test]
fn a_healthy_connection_passes_bytes_and_ends_on_both_sides() {
    let mut passage = passage(HEALTHY);
    assert_eq!(told(&passage, 0), "up read 0 | down read 0 | -");
    assert_eq!(text(&mut passage, 0, Up, "hello"), 0);
    assert_eq!(told(&passage, 0), "up read 5 | down read 0 | -");
    passage.written(ms(0), Up, 2);
    assert_eq!(passage.front(Up), b"llo");
    passage.read_ended(ms(0), Up, true);
    assert_eq!(told(&passage, 0), "up 3 | down read 0 | -");
    passage.written(ms(0), Up, 3);
    assert_eq!(told(&passage, 0), "up close 0 | down read 0 | -");
    passage.closed(Up);
    text(&mut passage, 0, Down, "bye");
    assert_eq!(told(&passage, 0), "up 0 | down read 3 | -");
    passage.written(ms(0), Down, 3);
    passage.read_ended(ms(0), Down, true);
    passage.closed(Down);
    assert_eq!(told(&passage, 0), "over");
}

#[test]
fn a_delay_holds_every_byte_and_the_end_back_for_so_long() {
    let delay = Some((100, 0));
    let mut passage = passage(Plan { delay, ..HEALTHY });
    text(&mut passage, 0, Up, "a");
    text(&mut passage, 40, Up, "b");
    passage.read_ended(ms(50), Up, true);
    assert_eq!(told(&passage, 99), "up 0 | down read 0 | 100");
    assert_eq!(told(&passage, 100), "up 1 | down read 0 | -");
    passage.written(ms(100), Up, 1);
    assert_eq!(told(&passage, 101), "up 0 | down read 0 | 140");
    passage.written(ms(140), Up, 1);
    assert_eq!(told(&passage, 140), "up 0 | down read 0 | 150");
    assert_eq!(told(&passage, 150), "up close 0 | down read 0 | -");
}

#[test]
fn jitter_never_changes_the_order_and_healing_lets_nothing_overtake() {
    let mut passage = passage(Plan {
        delay: Some((0, 1_000)),
        ..HEALTHY
    });
    for at in 0..100 {
        assert_eq!(text(&mut passage, at, Up, "x"), 0);
    }
    passage.change(HEALTHY);
    text(&mut passage, 100, Up, "last");
    let due: Vec<Duration> = passage.up.waiting.iter().map(|(due, _)| *due).collect();
    assert!(due.is_sorted());
    assert!(due[100] > ms(500), "a hundred draws of up to a second");
}

#[test]
fn a_throttle_gives_portions_and_then_a_pause() {
    let mut passage = passage(Plan {
        throttle: Some(100),
        ..HEALTHY
    });
    text(&mut passage, 0, Down, "abcdef");
    assert_eq!(told(&passage, 0), "up read 0 | down read 2 | -");
    passage.written(ms(0), Down, 2);
    assert_eq!(told(&passage, 0), "up read 0 | down read 0 | 20");
    passage.written(ms(20), Down, 2);
    assert_eq!(told(&passage, 39), "up read 0 | down read 0 | 40");
    passage.change(HEALTHY);
    assert_eq!(told(&passage, 39), "up read 0 | down read 2 | -");
}

#[test]
fn what_is_dropped_vanishes_the_other_way_goes_on_and_healing_resets() {
    for (dropped, kept) in [(Up, Down), (Down, Up)] {
        let plan = Plan {
            drop_upstream: dropped == Up,
            drop_downstream: dropped == Down,
            ..HEALTHY
        };
        let mut passage = passage(HEALTHY);
        text(&mut passage, 0, dropped, "before");
        passage.change(plan);
        assert_eq!(text(&mut passage, 0, dropped, "gone"), 4);
        assert_eq!(text(&mut passage, 0, kept, "stays"), 0);
        assert_eq!(passage.front(dropped), b"before");
        assert_eq!(passage.front(kept), b"stays");
        passage.change(Plan {
            freeze: true,
            ..plan
        });
        assert_ne!(told(&passage, 0), "reset", "it is still dropped");
        passage.change(HEALTHY);
        assert_eq!(told(&passage, 0), "reset");
    }
}

#[test]
fn a_connection_that_lost_nothing_survives_the_healing() {
    let mut passage = passage(Plan {
        drop_upstream: true,
        ..HEALTHY
    });
    text(&mut passage, 0, Down, "stays");
    passage.change(HEALTHY);
    assert_eq!(told(&passage, 0), "up read 0 | down read 5 | -");
}

#[test]
fn a_dropped_end_never_arrives() {
    for properly in [true, false] {
        let mut passage = passage(Plan {
            drop_upstream: true,
            ..HEALTHY
        });
        passage.read_ended(ms(0), Up, properly);
        assert_eq!(told(&passage, 9_999), "up 0 | down read 0 | -");
        passage.change(HEALTHY);
        assert_eq!(told(&passage, 9_999), "reset");
    }
}

#[test]
fn it_is_reset_after_exactly_so_many_bytes_of_both_ways() {
    let reset_after = Some(7);
    let mut passage = passage(Plan {
        reset_after,
        ..HEALTHY
    });
    text(&mut passage, 0, Up, "12345");
    text(&mut passage, 0, Down, "12345");
    assert_eq!(told(&passage, 0), "up read 5 | down read 2 | -");
    passage.written(ms(0), Up, 5);
    passage.written(ms(0), Down, 2);
    assert_eq!(told(&passage, 0), "reset");
}

#[test]
fn the_bytes_until_a_reset_count_from_when_it_is_set() {
    let mut passage = passage(HEALTHY);
    text(&mut passage, 0, Up, "12345");
    passage.written(ms(0), Up, 5);
    for (bytes, expected) in [(1, "up read 0 | down read 0 | -"), (0, "reset")] {
        passage.change(Plan {
            reset_after: Some(bytes),
            ..HEALTHY
        });
        assert_eq!(told(&passage, 0), expected);
    }
}

#[test]
fn a_frozen_connection_does_nothing_and_later_goes_on_with_nothing_lost() {
    let mut passage = passage(HEALTHY);
    text(&mut passage, 0, Up, "abc");
    passage.change(Plan {
        freeze: true,
        ..HEALTHY
    });
    assert_eq!(told(&passage, 99_999), "up 0 | down 0 | -");
    passage.change(HEALTHY);
    assert_eq!(told(&passage, 99_999), "up read 3 | down read 0 | -");
}

#[test]
fn refusal_a_broken_peer_and_a_failed_write_reset_it() {
    let mut refused = passage(HEALTHY);
    refused.change(Plan {
        refuse: true,
        ..HEALTHY
    });
    assert_eq!(told(&refused, 0), "reset");
    let mut broken = passage(HEALTHY);
    broken.read_ended(ms(0), Down, false);
    assert_eq!(told(&broken, 0), "reset");
    let mut failed = passage(HEALTHY);
    failed.write_failed();
    assert_eq!(told(&failed, 0), "reset");
}

#[test]
fn nothing_more_is_read_when_too_much_waits() {
    let delay = Some((1_000, 0));
    let mut passage = passage(Plan { delay, ..HEALTHY });
    passage.read(ms(0), Up, Bytes::from(vec![0; WAITING_BYTES_MAX]));
    assert_eq!(told(&passage, 0), "up 0 | down read 0 | 1000");
}

proptest! {
    /// Whatever faults come and go, what arrives is a beginning of what was sent.
    #[test]
    fn bytes_never_change_their_order_and_none_is_made_up(
        plans in prop::collection::vec(
            (prop::option::of((0u64..50, 0u64..50)), prop::option::of(1u64..500), any::<bool>(), 0u8..8),
            1..6,
        ),
    ) {
        let mut passage = passage(HEALTHY);
        let (mut sent, mut arrived) = (Vec::new(), Vec::new());
        for at in 0..600u64 {
            if at % 100 == 0
                && let Some((delay, throttle, freeze, drop)) = plans.get(at as usize / 100)
            {
                let drop_upstream = *drop == 0;
                passage.change(Plan {
                    delay: *delay,
                    throttle: *throttle,
                    freeze: *freeze,
                    drop_upstream,
                    ..HEALTHY
                });
            }
            let Next::Go { up, .. } = passage.next(ms(at)) else {
                break;
            };
            if up.write > 0 {
                arrived.extend_from_slice(&passage.front(Up)[..up.write]);
                passage.written(ms(at), Up, up.write);
            } else if up.read {
                let byte = at as u8;
                passage.read(ms(at), Up, Bytes::copy_from_slice(&[byte]));
                sent.push(byte);
            }
        }
        prop_assert!(sent.starts_with(&arrived));
    }
}
