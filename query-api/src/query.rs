//! The query language: what people write into the search bar, and programs into `q`.
//!
//! One text, one tree, two readers that agree. In the order of the flow:
//!
//! 1. [`field`]: how each field of an event is kept, and what can therefore be asked of it.
//! 2. [`pattern`]: texts with wildcards.
//! 3. [`tree`]: what a query means.
//! 4. [`parser`]: text → tree; every error names its column.
//! 5. [`filter`]: tree → Elasticsearch's JSON, for what is indexed.
//! 6. [`words`], [`leaves`], [`mapping`], [`matcher`]: tree × event → yes or no, for what is
//!    not indexed yet (the live tail). It does what Elasticsearch does, a live
//!    test holds the two together.

pub mod field;
pub mod pattern;
pub mod tree;
pub mod parser;
pub mod filter;
pub mod words;
pub mod leaves;
pub mod mapping;
pub mod matcher;
