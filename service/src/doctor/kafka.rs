//! Asks Kafka whether a service could work with it; judges nothing.
//!
//! In the flow: settings → **`kafka`** → `described` → `kafka_verdict`. One client asks everything: what it cannot
//! sign in to, the service cannot either.

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use super::kafka_verdict::{self as verdict, TopicNeed};
use super::{ASK_TIMEOUT, Check, Finding};
use crate::kafka::described;

/// One look whether a broker answers; its client tries again meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// How long brokers may take to find out who coordinates a group.
const COORDINATOR_WITHIN: Duration = Duration::from_secs(8);
/// The port of a broker whose address has none.
const PORT: u16 = 9092;

/// What a service needs of Kafka.
#[derive(Clone, Debug)]
pub struct KafkaNeeds {
    /// As `--kafka-brokers` has them.
    pub brokers: Vec<String>,
    /// How the service's own client is set up.
    pub client: ClientConfig,
    /// The topics that it uses.
    pub topics: Vec<TopicNeed>,
    /// The group that it commits in.
    pub group: Option<String>,
    /// How a producer with transactions is set up, the prefix of its ids, and one id to try.
    pub transactions: Option<Transactions>,
}

/// A producer with transactions.
#[derive(Clone, Debug)]
pub struct Transactions {
    /// How it is set up.
    pub client: ClientConfig,
    /// What its ids begin with.
    pub prefix: String,
    /// An id that no service uses.
    pub id: String,
}

/// What librdkafka says of its connections.
#[derive(Debug, Default)]
struct Witness {
    seen: Mutex<Vec<(Code, String)>>,
}

impl Witness {
    fn seen(&self) -> Vec<(Code, String)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl ClientContext for Witness {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((code, reason.to_owned()));
        }
    }
}

impl ProducerContext for Witness {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// One check for each address, one for what the brokers say, and one for transactions.
#[must_use]
pub fn checks(needs: KafkaNeeds) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for address in needs.brokers.clone() {
        let about = format!("Kafka broker `{address}`");
        checks.push(Check::new(about, move || {
            let reached = reach(&address);
            vec![verdict::address(&address, false, reached)]
        }));
    }
    let transactions = needs.transactions.clone();
    checks.push(Check::new("Kafka", move || examine(&needs)));
    if let Some(transactions) = transactions {
        let about = format!("Kafka transactional ids `{}*`", transactions.prefix);
        checks.push(Check::new(about, move || vec![begin(&transactions)]));
    }
    checks
}

fn examine(needs: &KafkaNeeds) -> Vec<Finding> {
    let client: BaseProducer<Witness> = match needs.client.create_with_context(Witness::default()) {
        Ok(client) => client,
        Err(error) => {
            let says = format!("librdkafka refuses the settings, see --kafka-property: {error}");
            return vec![Finding::fail("Kafka", says)];
        }
    };
    let Some(brokers) = brokers(&client) else {
        return vec![
            verdict::no_answer(&client.client().context().seen()),
            Finding::warn(
                "Kafka topics and privileges",
                "could not be asked for; run this again when Kafka answers",
            ),
        ];
    };
    let protocol = needs.client.get("security.protocol").unwrap_or("plaintext");
    let mut findings = vec![Finding::ok(
        "Kafka",
        format!(
            "{} brokers answer over {}",
            brokers.len(),
            protocol.to_ascii_lowercase()
        ),
    )];
    let given: BTreeSet<String> = needs.brokers.iter().map(|given| bare(given)).collect();
    for address in brokers.difference(&given) {
        findings.push(verdict::address(address, true, reach(address)));
    }
    let names: Vec<String> = needs
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    match described::topics(client.client(), &names, ASK_TIMEOUT) {
        Ok(found) => {
            for need in &needs.topics {
                let settings = settings_of(&client, &need.name);
                findings.extend(verdict::topic(need, found.get(&need.name), &settings));
            }
        }
        Err(reason) => findings.push(Finding::fail("Kafka topics", reason)),
    }
    if let Some(group) = &needs.group {
        match ask_group(client.client(), group) {
            Ok(found) => findings.push(verdict::group(group, found.get(group))),
            Err(reason) => findings.push(Finding::fail(format!("Kafka group `{group}`"), reason)),
        }
    }
    findings
}

/// Asks until it is known who coordinates the group: brokers that had none so far first make the topic for its offsets.
fn ask_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
) -> Result<described::ByName<described::Operations>, String> {
    let deadline = Instant::now() + COORDINATOR_WITHIN;
    loop {
        let answer = described::group(client, group, ASK_TIMEOUT);
        let passes = match &answer {
            Ok(found) => matches!(
                found.get(group),
                Some(Err(Code::NotCoordinator
                    | Code::CoordinatorLoadInProgress
                    | Code::CoordinatorNotAvailable))
            ),
            Err(_) => true,
        };
        if !passes || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(LOOK_TIMEOUT);
    }
}

/// The addresses that the brokers advertise; `None` if none answers.
fn brokers(client: &BaseProducer<Witness>) -> Option<BTreeSet<String>> {
    let deadline = Instant::now() + ASK_TIMEOUT;
    while Instant::now() < deadline {
        // Of no topic by its name: that would create it where brokers do so by themselves.
        let answer = client.client().fetch_metadata(None, LOOK_TIMEOUT);
        client.poll(Duration::ZERO);
        if let Ok(metadata) = answer {
            let brokers = metadata.brokers().iter();
            return Some(
                brokers
                    .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                    .collect(),
            );
        }
        let refused = [Code::Authentication, Code::SSL];
        let seen = client.client().context().seen();
        if seen.iter().any(|(code, _)| refused.contains(code)) {
            return None;
        }
    }
    None
}

fn settings_of(client: &BaseProducer<Witness>, topic: &str) -> verdict::TopicSettings {
    let mut found = described::topic_settings(client.client(), topic, ASK_TIMEOUT).ok()?;
    found.remove(topic)?.ok()
}

/// Begins no transaction: it takes the id, and that is refused to who may not use it.
fn begin(transactions: &Transactions) -> Finding {
    let client: Result<BaseProducer<Witness>, KafkaError> =
        transactions.client.create_with_context(Witness::default());
    let began = client.and_then(|client| client.init_transactions(ASK_TIMEOUT));
    let began = began.map_err(|error| (error.rdkafka_error_code(), error.to_string()));
    verdict::transactional_id(&transactions.id, &transactions.prefix, began)
}

/// `HOST:PORT` of an address as librdkafka takes it.
fn bare(address: &str) -> String {
    let address = address.rsplit("://").next().unwrap_or(address);
    match address.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => address.to_owned(),
        _ => format!("{address}:{PORT}"),
    }
}

fn reach(address: &str) -> Result<(), String> {
    let found = bare(address).to_socket_addrs();
    let found = found.map_err(|error| error.to_string())?;
    let mut reason = "its name stands for no address".to_owned();
    for place in found {
        match TcpStream::connect_timeout(&place, ASK_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (given, expected) in [
            ("kafka-1:9093", "kafka-1:9093"),
            ("kafka-1", "kafka-1:9092"),
            ("SASL_SSL://kafka-1:9093", "kafka-1:9093"),
            ("[fd00::1]:9093", "[fd00::1]:9093"),
        ] {
            assert_eq!(bare(given), expected);
        }
    }
}
