//! `cargo xtask incidents`: provokes every alert in a running pipeline, and tells after how long it fires, and clears.
//!
//! In the flow: `pipeline`, `prometheus` → `stack` (what runs) → `provoke` (what can go wrong with it) → **`incidents`**
//! → a table in Markdown. The rules are those of `deploy/prometheus` with their durations divided by [`HASTE`], so that
//! this takes minutes and not hours. It fails when an alert does not fire, does not clear, or has no incident.

mod activity;
mod provoke;
mod stack;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::provoke::{INCIDENTS, Incident};
use self::stack::Stack;
use crate::interrupt::{Interrupt, POLL};
use crate::prerequisites::{self, ALERTS, ARCHIVE, BUILD, ENGINES};
use crate::progress::Progress;
use crate::prometheus::{ALERT_RULES, SHIPPED, shipped};
use crate::workspace::{Lock, Workspace};

/// What the durations of the rules are divided by: five minutes become five seconds.
const HASTE: u32 = 60;
/// An alert fires within this after its cause is there, and clears within this after it is gone: a threshold of a
/// minute, the longest `for`, divided, and what a busy machine needs to catch up.
const WITHIN: Duration = Duration::from_secs(180);
/// Between two incidents nothing is due.
const CALM_WITHIN: Duration = Duration::from_secs(180);

/// What `cargo xtask incidents` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The incidents alone whose cause or alerts contain this.
    #[arg(long, value_name = "PART")]
    pub only: Option<String>,
}

/// What became of an alert in an incident.
struct Told {
    cause: &'static str,
    alert: &'static str,
    /// `None`: not in time.
    fired: Option<Duration>,
    cleared: Option<Duration>,
    /// Others that fired meanwhile.
    others: BTreeSet<String>,
}

/// Provokes the incidents one after the other and prints the table.
///
/// # Errors
/// When something cannot be started, or an alert does not fire or clear in time; the table has said by then which.
pub fn incidents(options: &Options) -> Result<()> {
    let part = options.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Incident> = INCIDENTS
        .iter()
        .filter(|incident| incident.is_called(part))
        .collect();
    ensure!(!chosen.is_empty(), "no incident has `{part}` in its name");
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("incidents");
    let _lock =
        Lock::take(&workspace.target.join("incidents.lock")).context("a second `incidents`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES, ARCHIVE, ALERTS], &progress, &interrupt)?;
    let mut stack = Stack::start(&workspace, directory, &progress, &interrupt)?;
    let mut told = Vec::new();
    for incident in chosen {
        let step = progress.step("incident", incident.cause);
        let new = carry_out(incident, &mut stack, &interrupt)
            .with_context(|| format!("incident: {}", incident.cause))?;
        let lines = new.iter().map(Told::to_string);
        step.done(&lines.collect::<Vec<_>>().join("; "));
        told.extend(new);
    }
    stack.stop()?;
    let rules = workspace.root.join(SHIPPED).join(ALERT_RULES);
    let rules =
        fs::read_to_string(&rules).with_context(|| format!("cannot read `{}`", rules.display()))?;
    progress.say(&table(&told, &rules));
    let late = told
        .iter()
        .filter(|one| one.fired.is_none() || one.cleared.is_none());
    let late: Vec<String> = late.map(Told::to_string).collect();
    if !late.is_empty() {
        bail!("{}", late.join("\n"));
    }
    Ok(())
}

/// One incident, from calm to calm.
fn carry_out(incident: &Incident, stack: &mut Stack, interrupt: &Interrupt) -> Result<Vec<Told>> {
    interrupt.wait_for("no alert to be due", CALM_WITHIN, || {
        match stack.alerts().map_err(|error| format!("{error:#}"))? {
            due if due.is_empty() => Ok(()),
            due => Err(format!("{due:?}")),
        }
    })?;
    let heal = (incident.provoke)(stack)?;
    let mut others = BTreeSet::new();
    let fired = moments(incident, stack, true, &mut others, interrupt)?;
    heal(stack)?;
    let cleared = moments(incident, stack, false, &mut others, interrupt)?;
    others.retain(|name| !incident.alerts.contains(&name.as_str()));
    let times = fired.into_iter().zip(cleared);
    let alerts = incident.alerts.iter().zip(times);
    Ok(alerts
        .map(|(alert, (fired, cleared))| Told {
            cause: incident.cause,
            alert,
            fired,
            cleared,
            others: others.clone(),
        })
        .collect())
}

/// After how long each alert of the incident fires, or does not any more.
fn moments(
    incident: &Incident,
    stack: &mut Stack,
    fires: bool,
    others: &mut BTreeSet<String>,
    interrupt: &Interrupt,
) -> Result<Vec<Option<Duration>>> {
    let began = Instant::now();
    let mut moments: Vec<Option<Duration>> = vec![None; incident.alerts.len()];
    while moments.contains(&None) && began.elapsed() < WITHIN {
        interrupt.check()?;
        stack.look_after_load()?;
        let alerts = stack.alerts()?.into_iter();
        let firing = alerts.filter(|alert| alert.fires).map(|alert| alert.name);
        let firing: BTreeSet<String> = firing.collect();
        for (alert, moment) in incident.alerts.iter().zip(&mut moments) {
            if firing.contains(*alert) == fires {
                moment.get_or_insert(began.elapsed());
            }
        }
        others.extend(firing);
        std::thread::sleep(POLL * 4);
    }
    Ok(moments)
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |moment: Option<Duration>| match moment {
            Some(moment) => format!("after {:.1} s", moment.as_secs_f64()),
            None => format!("not within {} s", WITHIN.as_secs()),
        };
        let (fired, cleared) = (seconds(self.fired), seconds(self.cleared));
        write!(
            f,
            "{}: {} fired {fired}, cleared {cleared}",
            self.cause, self.alert
        )
    }
}

/// The table, and what its figures mean.
fn table(told: &[Told], rules: &str) -> String {
    let mut text = format!(
        "\nScraped and evaluated every second; the durations of the rules, their ranges and their `for`, are divided by {HASTE}, their thresholds are as shipped.\n\
         The seconds count from when the cause is there until the alert fires, and from when it is gone until it fires no more.\n\n\
         | cause | alert | `for` as shipped | fires after s | clears after s | what fired besides |\n|---|---|---|---|---|---|\n"
    );
    let seconds = |moment: Option<Duration>| match moment {
        Some(moment) => format!("{:.1}", moment.as_secs_f64()),
        None => "never".to_owned(),
    };
    for one in told {
        let others: Vec<&str> = one.others.iter().map(String::as_str).collect();
        let cells = [
            one.cause,
            one.alert,
            shipped::wait_of(rules, one.alert).unwrap_or_default(),
            &seconds(one.fired),
            &seconds(one.cleared),
            &others.join(", "),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_has_an_incident_and_no_incident_awaits_another() {
        let rules = include_str!("../../deploy/prometheus/alerts.yml");
        let names = rules.lines();
        let names: BTreeSet<&str> = names
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .collect();
        let awaited = INCIDENTS.iter().flat_map(|incident| incident.alerts);
        assert_eq!(awaited.copied().collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn an_incident_is_chosen_by_its_cause_or_an_alert_of_it() {
        let incident = &INCIDENTS[0];
        for part in ["", incident.cause, incident.alerts[0]] {
            assert!(incident.is_called(part));
        }
        assert!(!incident.is_called("no such incident"));
    }
}
