//! `cargo xtask dashboards`: writes Grafana's dashboards, so that all panels have their units, limits and legends alike.
//!
//! In the flow: `panel` (what a panel is) → `overview`, `gateway`, `sink`, `archive`, `search` (what is on them, with
//! `shared`) → **`dashboards`** → `deploy/grafana/dashboards/`. What is committed must be what is written: a test
//! compares. Whether every expression finds data, the live tests ask a Prometheus.

mod archive;
mod gateway;
mod overview;
pub mod panel;
mod search;
mod shared;
mod sink;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::panel::Dashboard;
use crate::workspace::Workspace;

/// Where they lie, from the root of the repository.
pub const DIRECTORY: &str = "deploy/grafana/dashboards";

/// Writes all of them.
///
/// # Errors
/// When a file cannot be written.
pub fn dashboards() -> Result<()> {
    let root = Workspace::locate()?.root;
    for dashboard in all() {
        let path = file(&root, &dashboard);
        fs::write(&path, dashboard.to_json())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

fn all() -> [Dashboard; 5] {
    [
        overview::dashboard(),
        gateway::dashboard(),
        sink::dashboard(),
        archive::dashboard(),
        search::dashboard(),
    ]
}

fn file(root: &Path, dashboard: &Dashboard) -> PathBuf {
    root.join(DIRECTORY)
        .join(format!("{}.json", dashboard.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn what_is_committed_is_what_is_written() {
        for dashboard in all() {
            let path = file(&root(), &dashboard);
            let committed = fs::read_to_string(&path).unwrap();
            assert!(
                committed == dashboard.to_json(),
                "`{}` is not what `cargo xtask dashboards` writes",
                path.display()
            );
        }
        let files = fs::read_dir(root().join(DIRECTORY)).unwrap();
        assert_eq!(files.count(), all().len());
    }

    #[test]
    fn every_alert_has_a_panel_and_no_panel_names_another() {
        let rules = fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
        let names = rules.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("- alert: ")?;
            Some(name.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        let mut shown: Vec<String> = all()
            .iter()
            .flat_map(|dashboard| dashboard.alerts().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        names.sort();
        shown.sort();
        shown.dedup();
        assert_eq!(shown, names);
    }
}
