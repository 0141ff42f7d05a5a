//! The one tool of the repository: up, test, and what they are made of.
