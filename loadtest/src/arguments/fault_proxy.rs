//! The command line of `fault-proxy`.
//!
//! In the flow: `main` → `arguments` → **`fault_proxy`** → the library's `fault_proxy`.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use clap::Args;

use loadtest::fault_proxy::RouteSettings;

#[derive(Debug, Args)]
pub(crate) struct FaultProxy {
    /// Where to listen; may be given several times, each with its --to
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// Where connections lead
    #[arg(long, value_name = "HOST:PORT")]
    to: Vec<String>,
    /// Both at once, [NAME=]LISTEN=HOST:PORT; may be given several times
    #[arg(long, value_name = "ROUTE", required_unless_present = "listen")]
    route: Vec<RouteSettings>,
    /// Where faults are set: PUT and DELETE /routes/NAME/fault, GET /routes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9250")]
    pub(crate) control: SocketAddr,
    /// Decides which connections a fault with a probability hits
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl FaultProxy {
    /// The routes in the order of their numbers: pairs first.
    pub(crate) fn routes(&self) -> anyhow::Result<Vec<RouteSettings>> {
        if self.listen.len() != self.to.len() {
            bail!(
                "--listen is given {} times and --to {} times; they are pairs",
                self.listen.len(),
                self.to.len()
            );
        }
        let pairs = self.listen.iter().zip(&self.to).map(|(listen, to)| {
            let route = format!("{listen}={to}").parse();
            route.with_context(|| format!("`{to}` is not HOST:PORT"))
        });
        pairs.chain(self.route.iter().cloned().map(Ok)).collect()
    }
}
