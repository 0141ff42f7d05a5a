//! Elasticsearch to people and programs: search over HTTP. A search meets the
//! files in this order:
//!
//! 1. [`config`]: flags, environment and file become a checked configuration.
//! 2. [`server`]: connections, bounded in number and patience; SIGTERM drains.
//! 3. [`routes`]: the router, its layers, and what each request is counted as.
//! 4. [`parameters`]: query string or JSON body become checked parameters,
//!    their dates by [`query_date`]; [`query`]: the query language.
//! 5. [`selection`]: which events; [`search_request`]: in which order, how many;
//!    [`histogram`], [`facets`], [`fields`], [`surroundings`], [`export`]: what else is asked
//!    about them.
//! 6. [`cursor`]: where the next page starts, as an opaque text.
//!    [`passthrough`]: or, below `/elasticsearch`, what of Elasticsearch's own API is passed on.
//! 7. [`searcher`]: admits a search, leads it to Elasticsearch and back;
//!    [`exporter`]: page after page. [`tail`], [`tail_reader`]: straight from Kafka instead.
//!    [`pipeline`], [`sinks`], [`letters`]: how it gets there; [`redrive`], [`redriver`]: once more.
//! 8. [`open_cursors`]: how many points in time are held, and which goes first.
//! 9. [`es_query`]: the request as Elasticsearch's JSON.
//! 10. [`elasticsearch`]: sends it and judges the reply.
//! 11. [`search_response`]: hits become the reply.
//! 12. [`error`]: every way to say no.
//! 13. [`metrics`], [`openapi`], [`docs_page`]: what operators and programs read about all this;
//!     [`page`]: what people see of it.
//!
//! [`doctor`] examines beforehand whether all that these reach for is there.

pub mod config;
pub mod server;
pub mod routes;
pub mod parameters;
pub mod query_date;
pub mod query;
pub mod selection;
pub mod search_request;
pub mod histogram;
pub mod facets;
pub mod fields;
pub mod surroundings;
pub mod export;
pub mod cursor;
pub mod passthrough;
pub mod searcher;
pub mod exporter;
pub mod kafka;
pub mod tail;
pub mod tail_reader;
pub mod pipeline;
pub mod sinks;
pub mod letters;
pub mod redrive;
pub mod redriver;
pub mod open_cursors;
pub mod es_query;
pub mod elasticsearch;
pub mod search_response;
pub mod error;
pub mod metrics;
pub mod openapi;
pub mod docs_page;
pub mod page;
pub mod doctor;
