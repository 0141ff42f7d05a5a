//! Holds the alerts against what belongs to them: a test that shows each firing and silent, and a paragraph that tells
//! what to do.
//!
//! In the flow: part of `tidy`. Pure. Not here: whether the rules and their tests hold (`promtool`, live `prometheus`).

/// The alerts.
pub(super) const RULES: &str = "deploy/prometheus/alerts.yml";
/// Their tests.
pub(super) const TESTS: &str = "deploy/prometheus/alerts.test.yml";
/// Their paragraphs, in the section `## Alerts`.
pub(super) const RUNBOOKS: &str = "docs/operations.md";

/// What is missing of an alert, and what belongs to none.
pub(super) fn faults(rules: &str, tests: &str, runbooks: &str) -> Vec<String> {
    let names: Vec<&str> = after(rules, "- alert: ").collect();
    let section = runbooks.split("\n## ");
    let section = section.filter(|section| section.starts_with("Alerts\n"));
    let paragraphs: Vec<&str> = section.flat_map(|text| after(text, "### ")).collect();
    let firing: Vec<&str> = after(tests, "- alertname: ").collect();
    let silent = after(tests, "- {alertname: ").filter_map(|rest| rest.split(',').next());
    let silent: Vec<&str> = silent.collect();
    let mut faults = Vec::new();
    if names.is_empty() {
        faults.push(format!("{RULES}: has no alert"));
    }
    for name in &names {
        for (place, what, there) in [
            (TESTS, "test in which it fires", &firing),
            (TESTS, "test in which it is silent", &silent),
            (RUNBOOKS, "paragraph under `## Alerts`", &paragraphs),
        ] {
            if !there.contains(name) {
                faults.push(format!("{place}: the alert `{name}` has no {what}"));
            }
        }
        let anchor = format!("runbook: {RUNBOOKS}#{}", name.to_lowercase());
        if !after(rules, "").any(|line| line == anchor) {
            faults.push(format!("{RULES}: `{name}` lacks its `{anchor}`"));
        }
    }
    let others = paragraphs.iter().filter(|name| !names.contains(name));
    faults.extend(others.map(|name| format!("{RUNBOOKS}: there is no alert `{name}`")));
    faults
}

/// What follows `start` in the lines that begin with it.
fn after<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| line.trim().strip_prefix(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "- {alertname: Late, eval_time: 1m}\n- alertname: Late\n";

    #[test]
    fn an_alert_needs_its_tests_and_its_paragraph_and_a_paragraph_its_alert() {
        let rules = "  - alert: Late\n    runbook: docs/operations.md#late\n";
        let runbooks = "# Operations\n\n## Alerts\n\n### Late\n\n## Capacity\n\n### Other\n";
        assert_eq!(faults(rules, TEST, runbooks), [""; 0]);
        assert_eq!(
            faults(rules, "- alertname: Late\n", "\n## Alerts\n### Later\n"),
            [
                "deploy/prometheus/alerts.test.yml: the alert `Late` has no test in which it is silent",
                "docs/operations.md: the alert `Late` has no paragraph under `## Alerts`",
                "docs/operations.md: there is no alert `Later`",
            ]
        );
        assert_eq!(
            faults("- alert: Late", TEST, runbooks),
            ["deploy/prometheus/alerts.yml: `Late` lacks its `runbook: docs/operations.md#late`"]
        );
        assert_eq!(
            faults("", "", ""),
            ["deploy/prometheus/alerts.yml: has no alert"]
        );
    }
}
