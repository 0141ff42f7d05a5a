//! Several sinks of one group: how they share the work, how fast one takes over from another, and how fast one catches
//! up after an outage.
//!
//! In the flow: `bench::stage` → **`bench::scaling`** → sections of the report.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::index;
use super::report::{CPU_PER_MILLION, Column, PEAK, Section};
use super::stage::{LONG, Load, Stage};
use crate::pipeline::Service;
use crate::progress::{Progress, Step};

const PARTITIONS: u32 = 12;

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    Ok(vec![
        shared(stage, progress)?,
        taking_over(stage, progress)?,
        catching_up(stage, progress)?,
    ])
}

fn load(events: u64) -> Load {
    Load {
        partitions: PARTITIONS,
        ..Load::usual(events)
    }
}

/// Sinks of a group of their own, on a null Elasticsearch.
struct Group {
    sinks: Vec<Service>,
    null: Service,
}

impl Group {
    fn start(stage: &mut Stage, topic: &str, n: usize) -> Result<Self> {
        let null = stage.pipeline.null_elasticsearch()?;
        let mut wiring = stage.pipeline.wiring.clone();
        (wiring.topic, wiring.group) = (topic.to_owned(), stage.fresh("bench-group"));
        wiring.elasticsearch.clone_from(&null.url);
        let flags = wiring.sink_flags();
        let sinks = (0..n).map(|_| stage.pipeline.launch("es-sink", &flags));
        Ok(Self {
            sinks: sinks.collect::<Result<_>>()?,
            null,
        })
    }

    fn sum(&self, name: &str) -> f64 {
        let values = self
            .sinks
            .iter()
            .map(|sink| sink.metric(name).unwrap_or(0.0));
        values.sum()
    }

    fn stop(mut self) -> Result<()> {
        for sink in &mut self.sinks {
            sink.process.stop()?;
        }
        self.null.process.stop()?;
        Ok(())
    }
}

fn shared(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let columns = [
        Column::new("events_per_second", "events/s of all together", 0),
        CPU_PER_MILLION,
    ];
    let mut step = progress.step("scaling", "1, 2 and 4 sinks");
    let n_events = stage.events(3_000_000);
    let topic = stage.fill(&load(n_events), &mut step)?;
    let title = format!("Sinks that share {PARTITIONS} partitions, into the null Elasticsearch");
    let mut section = Section::new(&title, &columns).relative_to("1");
    #[allow(clippy::cast_precision_loss)]
    let all = n_events as f64;
    for _ in 0..stage.rounds {
        for n in [1, 2, 4] {
            step.note(&format!("{n} sinks"));
            let group = Group::start(stage, &topic, n)?;
            let mut first = None;
            let began = Instant::now();
            loop {
                stage.interrupt.check()?;
                let indexed = group.sum("es_sink_documents_indexed_total");
                if indexed > 0.0 {
                    first.get_or_insert((Instant::now(), indexed));
                }
                if indexed >= all {
                    break;
                }
                ensure!(
                    began.elapsed() < LONG,
                    "{n} sinks indexed {indexed} of {all} in time"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            let (since, before) = first.context("nothing was indexed")?;
            let rate = (all - before) / since.elapsed().as_secs_f64();
            let cpu = group
                .sinks
                .iter()
                .filter_map(|sink| sink.process.cpu_seconds());
            let cpu = cpu.sum::<f64>() * 1e6 / all;
            section.add(&n.to_string(), vec![rate, cpu]);
            group.stop()?;
        }
    }
    section.note("All of them, the broker and the null server share the machine's processors: more sinks can only be as fast as one here.");
    step.done("1, 2 and 4 sinks");
    Ok(section)
}

fn taking_over(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let columns = [Column::new(
        "seconds",
        "s until the other one owns all partitions",
        1,
    )];
    let mut step = progress.step("scaling", "one sink takes over from another");
    let topic = stage.fill(&load(1_000), &mut step)?;
    let mut section = Section::new("Taking over from one of two sinks", &columns);
    for _ in 0..stage.rounds {
        for (name, kill) in [("killed", true), ("stopped", false)] {
            step.note(name);
            let mut group = Group::start(stage, &topic, 2)?;
            let assigned = "es_sink_assigned_partitions";
            let half = f64::from(PARTITIONS) / 2.0;
            stage
                .interrupt
                .wait_for("the sinks to share", Duration::from_secs(60), || {
                    let owned = group
                        .sinks
                        .iter()
                        .map(|sink| sink.metric(assigned).unwrap_or(0.0));
                    let owned: Vec<f64> = owned.collect();
                    match owned.iter().all(|owned| (owned - half).abs() < 0.5) {
                        true => Ok(()),
                        false => Err(format!("they own {owned:?}")),
                    }
                })?;
            let began = Instant::now();
            let leaving = &mut group.sinks[0].process;
            if kill {
                leaving.kill();
            } else {
                leaving.stop()?;
            }
            stage
                .interrupt
                .wait_for(
                    "the other to take over",
                    Duration::from_secs(60),
                    || match group.sinks[1].metric(assigned) {
                        Ok(owned) if owned >= f64::from(PARTITIONS) => Ok(()),
                        owned => Err(format!("it owns {owned:?}")),
                    },
                )?;
            section.add(name, vec![began.elapsed().as_secs_f64()]);
            group.stop()?;
        }
    }
    section.note("A killed sink is missed after its session, `session.timeout.ms=10000`; one that is stopped drains, commits and leaves.");
    step.done("one sink takes over from another");
    Ok(section)
}

fn catching_up(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let columns = [
        Column::new("events_per_second", "documents/s", 0),
        CPU_PER_MILLION,
        PEAK,
    ];
    let mut step: Step = progress.step("scaling", "catching up");
    let n = stage.events(5_000_000);
    let topic = stage.fill(&load(n), &mut step)?;
    let title = format!("Catching up with {n} events into Elasticsearch");
    let mut section = Section::new(&title, &columns);
    let figures = index::sink(stage, &topic, n, &[], &mut step)?;
    section.add("es-sink", figures[..3].to_vec());
    step.done("caught up");
    Ok(section)
}
