//! `cargo xtask bench`: the services beside their peers, on the same engines.
//!
//! In the flow: `engines`, `services`, `peers` → **`bench`**.

pub mod peers;
