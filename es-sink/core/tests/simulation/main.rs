//! The real machine of the sink in a simulated world: a Kafka, an Elasticsearch
//! and several processes that fail in every way they know, in virtual time.
//! One number is a whole run; `checker` asserts EO-1 to EO-6 at every step.
//!
//! In the order of the flow: `truth` (what was produced), `kafka`, `group`,
//! then a process (`member`, `reader`, `process`, `commits`), `elasticsearch`;
//! around them `dice`, `faults`, `world`, `checker`, and `seeds`, which runs many.
//!
//! `cargo xtask test sim --seed 17` runs one again, `--seeds 100000` many.

mod dice;
mod truth;
mod kafka;
mod group;
mod member;
mod reader;
mod process;
mod commits;
mod elasticsearch;
mod faults;
mod world;
mod checker;
mod seeds;

#[test]
fn every_guarantee_holds_whatever_fails() {
    seeds::run_chosen();
}
