//! Which privileges the brokers refuse to a member of a group, as far as they have told.
//!
//! In the flow: `topic_id`, what `poll` returns → **`privileges`** → `view`. librdkafka says once that it is
//! refused and tries on in silence; what is kept here stays until the brokers say otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use service::kafka::lacks;

use crate::topic_id::Told;
use crate::view::KafkaView;

/// What is refused.
#[derive(Debug)]
pub struct Refused {
    subscribed: BTreeSet<String>,
    group_name: String,
    topics: BTreeSet<String>,
    group: bool,
    view: Arc<KafkaView>,
}

impl Refused {
    /// Nothing yet, to the group that subscribes to these topics. What is refused is shown in `view`.
    #[must_use]
    pub fn new(group: &str, subscribed: &[String], view: Arc<KafkaView>) -> Self {
        Self {
            subscribed: subscribed.iter().cloned().collect(),
            group_name: group.to_owned(),
            topics: BTreeSet::new(),
            group: false,
            view,
        }
    }

    /// `poll` has returned this error. It does not say which topic is meant, so that of several all are.
    pub fn heard(&mut self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.topics.clone_from(&self.subscribed);
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => self.group = true,
            _ => return,
        }
        self.show();
    }

    /// The brokers were asked for the topics that are assigned.
    pub fn told(&mut self, told: &Told) {
        self.topics.clone_from(&told.unreadable);
        self.show();
    }

    /// The group has shared out its partitions, to this member, too.
    pub fn joined(&mut self) {
        self.group = false;
        self.topics.clear();
        self.show();
    }

    fn show(&self) {
        self.view.refuses(self.text());
    }

    /// The privileges that the user lacks, for people; `None` if nothing is refused.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let group = self.group.then(|| lacks("Read", "group", &self.group_name));
        let topics = self
            .topics
            .iter()
            .map(|topic| lacks("Read", "topic", topic));
        let all: Vec<String> = group.into_iter().chain(topics).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(subscribed: &[String]) -> Refused {
        let view = Arc::new(KafkaView::new(std::time::Instant::now()));
        Refused::new("sinks", subscribed, view)
    }

    fn refusal(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::MessageConsumption(code)
    }

    #[test]
    fn a_refusal_stands_until_the_brokers_say_otherwise() {
        let mut refused = refused(&["logs".to_owned()]);
        refused.heard(&refusal(RDKafkaErrorCode::AllBrokersDown));
        assert_eq!(refused.text(), None);

        refused.heard(&refusal(RDKafkaErrorCode::GroupAuthorizationFailed));
        let group = "the user lacks the ACL Read on group `sinks`";
        assert_eq!(refused.text().as_deref(), Some(group));
        refused.told(&Told::default());
        assert_eq!(refused.text().as_deref(), Some(group));
        refused.joined();
        assert_eq!(refused.text(), None);

        refused.heard(&refusal(RDKafkaErrorCode::TopicAuthorizationFailed));
        let topic = "the user lacks the ACL Read on topic `logs`";
        assert_eq!(refused.text().as_deref(), Some(topic));
        assert_eq!(refused.view.trouble().reason(), Some(topic));
        refused.told(&Told::default());
        assert_eq!(refused.text(), None);
    }

    #[test]
    fn a_topic_that_may_not_be_read_is_named_although_nothing_was_heard() {
        let mut refused = refused(&[]);
        let mut told = Told::default();
        told.unreadable.insert("logs".to_owned());
        refused.told(&told);
        let text = refused.text();
        assert_eq!(
            text.as_deref(),
            Some("the user lacks the ACL Read on topic `logs`")
        );
    }
}
