//! Which points in time are held open, and which gives way to a new one.
//!
//! In the flow: `searcher` → **`open_cursors`** → `searcher`. Upholds QA-1:
//! each point in time keeps segments of the index alive, so their number is bounded.
//! Not here: the clock, and closing what has to go (`searcher`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The points in time that this process opened or was last asked to read,
/// those unused for longest first.
#[derive(Debug)]
pub struct OpenCursors {
    max: usize,
    keep_alive: Duration,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    point_in_time: String,
    expires: Instant,
}

impl OpenCursors {
    /// None yet; at most `max`, each for `keep_alive` after its last use.
    #[must_use]
    pub fn new(max: usize, keep_alive: Duration) -> Self {
        Self {
            max,
            keep_alive,
            held: VecDeque::new(),
        }
    }

    /// Notes that a point in time was used just now. Returns those that must be
    /// closed to make room. Elasticsearch closes expired ones by itself.
    #[must_use]
    pub fn used(&mut self, point_in_time: String, now: Instant) -> Vec<String> {
        self.forget(&point_in_time);
        self.drop_expired(now);
        self.held.push_back(Held {
            point_in_time,
            expires: now + self.keep_alive,
        });
        let surplus = self.held.len().saturating_sub(self.max);
        let evicted = self.held.drain(..surplus);
        evicted.map(|held| held.point_in_time).collect()
    }

    /// Gives up the one unused for longest: the caller closes it.
    pub fn give_way(&mut self, now: Instant) -> Option<String> {
        self.drop_expired(now);
        self.held.pop_front().map(|held| held.point_in_time)
    }

    /// Notes that a point in time is closed.
    pub fn forget(&mut self, point_in_time: &str) {
        self.held.retain(|held| held.point_in_time != point_in_time);
    }

    /// How many are open.
    pub fn count(&mut self, now: Instant) -> usize {
        self.drop_expired(now);
        self.held.len()
    }

    /// All live equally long after their last use, so the front expires first.
    fn drop_expired(&mut self, now: Instant) {
        while self.held.front().is_some_and(|held| held.expires <= now) {
            self.held.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(60);

    fn used(cursors: &mut OpenCursors, name: &str, now: Instant) -> Vec<String> {
        cursors.used(name.to_owned(), now)
    }

    #[test]
    fn the_one_unused_for_longest_gives_way() {
        let now = Instant::now();
        let mut cursors = OpenCursors::new(2, KEEP_ALIVE);
        assert!(used(&mut cursors, "a", now).is_empty());
        assert!(used(&mut cursors, "b", now).is_empty());
        assert!(used(&mut cursors, "a", now).is_empty());
        assert_eq!(used(&mut cursors, "c", now), ["b"]);
        assert_eq!(cursors.count(now), 2);
        assert_eq!(cursors.give_way(now).as_deref(), Some("a"));
        assert_eq!(cursors.give_way(now + KEEP_ALIVE), None);
    }

    #[test]
    fn what_expired_or_was_closed_takes_no_room() {
        let now = Instant::now();
        let later = now + KEEP_ALIVE;
        let mut cursors = OpenCursors::new(2, KEEP_ALIVE);
        assert!(used(&mut cursors, "a", now).is_empty());
        assert!(used(&mut cursors, "b", later - Duration::from_millis(1)).is_empty());
        assert!(used(&mut cursors, "c", later).is_empty());
        assert_eq!(cursors.count(later), 2);
        cursors.forget("b");
        assert!(used(&mut cursors, "d", later).is_empty());
        assert_eq!(cursors.count(later + KEEP_ALIVE), 0);
    }
}
