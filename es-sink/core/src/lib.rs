//! The pure machine inside the sink: what to index, what to retry, what to commit.
