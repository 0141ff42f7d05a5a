//! Tells a Prometheus which instances `up` runs and how they are asked, so that the alerts and dashboards that ship see
//! them.
//!
//! In the flow: `layout` → **`scrape`** → `up`. Pure. Not here: the rules (`deploy/prometheus`).

use std::path::Path;

use super::layout::Layout;
use super::secrets::Secrets;
use crate::prometheus::{RULES, SHIPPED};
use crate::services::SERVICES;

/// A configuration for Prometheus, with the rules below `root`. Those who ask for a key get that of the scope `observe`.
pub(super) fn configuration(layout: &Layout, secrets: Option<&Secrets>, root: &Path) -> String {
    let mut text = "# Written by `cargo xtask up`: it scrapes what that runs, and evaluates the rules that ship.\n\n\
                    global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\n\nrule_files:\n"
        .to_owned();
    for file in RULES {
        let path = root.join(SHIPPED).join(file);
        text.push_str(&format!("  - {}\n", path.display()));
    }
    text.push_str("\nscrape_configs:\n");
    for service in SERVICES {
        let replicas = layout.services.iter().filter(|one| one.service == service);
        let targets: Vec<String> = replicas
            .map(|one| format!("\"127.0.0.1:{}\"", one.port))
            .collect();
        text.push_str(&format!("  - job_name: {service}\n"));
        if let Some(secrets) = secrets {
            text.push_str(&format!(
                "    scheme: https\n    tls_config:\n      ca_file: {}\n    authorization:\n      credentials_file: {}\n",
                secrets.authority().display(),
                secrets.path("monitor.key").display(),
            ));
        }
        text.push_str(&format!(
            "    static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use yaml_rust2::YamlLoader;

    use super::*;
    use crate::up::layout::{FirstPorts, Heaps, Ports};

    #[test]
    fn every_instance_of_a_cluster_is_scraped_under_the_job_that_alerts_and_dashboards_know() {
        let mut port = 0;
        let next = || {
            port += 100;
            Ok(port)
        };
        let ports = Ports::cluster(&FirstPorts::from(next).unwrap());
        let heaps = Heaps {
            kafka: 1,
            elasticsearch: 1,
        };
        let layout = Layout::new(ports, heaps, Path::new("/state"));
        let text = configuration(&layout, None, Path::new("/root"));
        let yaml = &YamlLoader::load_from_str(&text).unwrap()[0];
        let shipped = include_str!("../../../deploy/prometheus/prometheus.yml");
        let mut targets: Vec<Vec<&str>> = Vec::new();
        for job in yaml["scrape_configs"].as_vec().unwrap() {
            let name = job["job_name"].as_str().unwrap();
            assert!(shipped.contains(&format!("- job_name: {name}\n")), "{name}");
            let of_job = job["static_configs"][0]["targets"].as_vec().unwrap();
            targets.push(of_job.iter().map(|one| one.as_str().unwrap()).collect());
        }
        let expected: [&[&str]; 3] = [
            &["127.0.0.1:101", "127.0.0.1:102"],
            &["127.0.0.1:400", "127.0.0.1:401", "127.0.0.1:402"],
            &["127.0.0.1:201", "127.0.0.1:202"],
        ];
        assert_eq!(targets, expected.map(<[&str]>::to_vec));
        let rules = yaml["rule_files"].as_vec().unwrap();
        assert_eq!(
            rules[1].as_str(),
            Some("/root/deploy/prometheus/alerts.yml")
        );
        assert!(!text.contains("https"));
    }
}
