//! Elasticsearch to people and programs: search over HTTP.
