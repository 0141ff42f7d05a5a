//! Workload generator, null Elasticsearch, exactly-once verifier.
