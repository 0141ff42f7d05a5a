//! Sends dead letters back to their topics, by what `es-sink dead-letters redrive` does.
//!
//! In the flow: `redrive` → **`redriver`** → `es_sink::dead_letters` → Kafka. One at a time here; whoever redrives
//! elsewhere is fenced off by whoever starts later (docs/decisions/0009-redrive.md).

use std::sync::Arc;

use es_sink::dead_letters;
use es_sink::dead_letters::command::{DeadLettersConfig, Order, RedriveOrder};
use es_sink::dead_letters::filter::Filter;
use service::shutdown::Shutdown;
use tokio::sync::Mutex;

use crate::error::{Code, Problem};
use crate::kafka::KafkaSettings;
use crate::redrive::Redriven;

/// Redrives for callers.
#[derive(Clone, Debug)]
pub struct Redriver {
    settings: KafkaSettings,
    shutdown: Shutdown,
    one: Arc<Mutex<()>>,
}

impl Redriver {
    /// Connects for each redrive anew.
    #[must_use]
    pub fn new(settings: KafkaSettings, shutdown: Shutdown) -> Self {
        Self {
            settings,
            shutdown,
            one: Arc::default(),
        }
    }

    /// Redrives what is meant. It goes on if the caller leaves.
    ///
    /// # Errors
    /// A [`Problem`] if another redrive runs here, or Kafka cannot be read or written.
    pub async fn redrive(&self, filter: Filter) -> Result<Redriven, Problem> {
        if self.settings.brokers.is_empty() {
            let detail =
                "nothing can be redriven here: query-api was started without `--kafka-brokers`";
            return Err(Problem::new(Code::NotConfigured, detail));
        }
        let one = Arc::clone(&self.one).try_lock_owned().map_err(|_| {
            let detail = "another redrive runs; try again when it has ended";
            Problem::new(Code::Overloaded, detail)
        })?;
        let order = RedriveOrder {
            filter,
            limit: None,
            dry_run: false,
            json: false,
        };
        let config = DeadLettersConfig {
            brokers: self.settings.brokers.clone(),
            kafka_properties: self.settings.properties.clone(),
            group: "query-api".to_owned(),
            topic: self.settings.dead_letter_topic.clone(),
            order: Order::Redrive(order.clone()),
        };
        let shutdown = self.shutdown.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _one = one;
            let tell = |line: &str| tracing::info!("redriving: {line}");
            dead_letters::redrive::run(&config, &order, &shutdown, &tell)
        });
        let outcome = match work.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return Err(failed(&format!("{error:#}"))),
            Err(error) => return Err(failed(&error.to_string())),
        };
        Ok(Redriven {
            redriven: outcome.redriven,
            refused: outcome.refused,
            refusals: outcome.refusals,
            ended_early: outcome.ended_early,
        })
    }
}

fn failed(reason: &str) -> Problem {
    tracing::warn!(reason, "nothing was redriven");
    let detail = "Kafka does not let dead letters be redriven now; try again, and see the log of this service";
    Problem::new(Code::KafkaUnavailable, detail)
}
