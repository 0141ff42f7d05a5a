//! HTTP to Kafka: takes log events and acknowledges what the brokers hold.
