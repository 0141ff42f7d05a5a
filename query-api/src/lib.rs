//! Elasticsearch to people and programs: search over HTTP. A search meets the
//! files in this order:
//!
//! 1. [`config`]: flags, environment and file become a checked configuration.
//! 2. [`server`]: connections, bounded in number and patience; SIGTERM drains.
//! 3. [`routes`]: the router, its layers, and what each request is counted as.
//! 4. [`search_request`]: query string or JSON body become a checked request,
//!    its dates by [`query_date`].
//! 5. [`cursor`]: where the next page starts, as an opaque text.
//! 6. [`passthrough`]: or, below `/elasticsearch`, what of Elasticsearch's own API is passed on.
//! 7. [`searcher`]: admits a search, leads it to Elasticsearch and back.
//! 8. [`open_cursors`]: how many points in time are held, and which goes first.
//! 9. [`es_query`]: the request as Elasticsearch's JSON.
//! 10. [`elasticsearch`]: sends it and judges the reply.
//! 11. [`search_response`]: hits become the reply.
//! 12. [`error`]: every way to say no.
//! 13. [`metrics`], [`openapi`]: what operators and programs read about all this.

pub mod config;
pub mod server;
pub mod routes;
pub mod search_request;
pub mod query_date;
pub mod cursor;
pub mod passthrough;
pub mod searcher;
pub mod open_cursors;
pub mod es_query;
pub mod elasticsearch;
pub mod search_response;
pub mod error;
pub mod metrics;
pub mod openapi;
