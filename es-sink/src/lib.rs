//! Kafka to Elasticsearch: indexes each record exactly once.
