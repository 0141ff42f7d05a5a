//! What a dashboard and its panels are, and how Grafana 10 to 12 writes them. Pure.
//!
//! In the flow: part of `dashboards`. In an expression `$of` stands for the chosen jobs and instances, and `[$rate]` for
//! a span that holds enough scrapes for a rate.

use serde_json::{Value, json};

const COLUMNS: u64 = 24;
const SELECTED: &str = r#"job=~"$job",instance=~"$instance""#;

/// A page of panels.
#[derive(Debug)]
pub struct Dashboard {
    /// Its file, and with `logflow-` before it its address in Grafana.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The metric whose jobs and instances can be chosen; `None`: all are shown.
    pub chosen_by: Option<&'static str>,
    /// Panels under headings.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

/// What the values are measured in.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Requests a second.
    Requests,
    /// Events a second.
    Events,
    /// Bytes, in powers of 1024.
    Bytes,
    /// The same a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Parts of a whole, 1 being all of it.
    Share,
}

impl Unit {
    /// As Grafana calls it.
    fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::PerSecond => "cps",
            Self::Requests => "reqps",
            Self::Events => "eps",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "binBps",
            Self::Seconds => "s",
            Self::Share => "percentunit",
        }
    }
}

/// Where it gets bad.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Above(f64),
    Below(f64),
}

/// One panel.
#[derive(Debug)]
pub struct Panel {
    title: &'static str,
    about: &'static str,
    unit: Unit,
    is_number: bool,
    lines: Vec<(String, &'static str)>,
    limit: Option<Limit>,
    alerts: Vec<&'static str>,
    details: Option<(&'static str, &'static str)>,
}

impl Panel {
    /// Lines over time.
    #[must_use]
    pub fn graph(title: &'static str, unit: Unit, about: &'static str) -> Self {
        Self {
            title,
            about,
            unit,
            is_number: false,
            lines: Vec::new(),
            limit: None,
            alerts: Vec::new(),
            details: None,
        }
    }

    /// One large number.
    #[must_use]
    pub fn number(title: &'static str, unit: Unit, about: &'static str) -> Self {
        Self {
            is_number: true,
            ..Self::graph(title, unit, about)
        }
    }

    /// Draws an expression. The legend may have labels in it: `{{instance}}`.
    #[must_use]
    pub fn line(mut self, expression: impl Into<String>, legend: &'static str) -> Self {
        self.lines.push((expression.into(), legend));
        self
    }

    /// Draws the median, the 95th and the 99th percentile of a histogram, of all that is chosen.
    #[must_use]
    pub fn percentiles(mut self, histogram: &str) -> Self {
        for (quantile, legend) in [("0.5", "median"), ("0.95", "95 %"), ("0.99", "99 %")] {
            let rate = format!("sum by (le) (rate({histogram}_bucket{{$of}}[$rate]))");
            self = self.line(format!("histogram_quantile({quantile}, {rate})"), legend);
        }
        self
    }

    /// It gets bad from here on up.
    #[must_use]
    pub fn bad_above(self, limit: f64) -> Self {
        Self {
            limit: Some(Limit::Above(limit)),
            ..self
        }
    }

    /// It gets bad from here on down.
    #[must_use]
    pub fn bad_below(self, limit: f64) -> Self {
        Self {
            limit: Some(Limit::Below(limit)),
            ..self
        }
    }

    /// An alert that looks at the same.
    #[must_use]
    pub fn alert(mut self, name: &'static str) -> Self {
        self.alerts.push(name);
        self
    }

    /// A dashboard that tells more.
    #[must_use]
    pub fn details(self, title: &'static str, dashboard: &'static str) -> Self {
        Self {
            details: Some((title, dashboard)),
            ..self
        }
    }

    /// Width and height on the grid.
    fn size(&self) -> (u64, u64) {
        if self.is_number { (4, 4) } else { (8, 8) }
    }

    fn description(&self) -> String {
        let runbook = |name: &&str| {
            let anchor = name.to_lowercase();
            format!("Alert `{name}`: docs/operations.md#{anchor}")
        };
        let about = std::iter::once(self.about.to_owned());
        let lines: Vec<String> = about.chain(self.alerts.iter().map(runbook)).collect();
        lines.join("\n\n")
    }

    fn to_json(&self, id: u64, (x, y): (u64, u64)) -> Value {
        let (width, height) = self.size();
        let (base, beyond) = match self.limit {
            Some(Limit::Below(_)) => ("red", "green"),
            Some(Limit::Above(_)) | None => ("green", "red"),
        };
        let mut steps = vec![json!({"color": base, "value": null})];
        if let Some(Limit::Above(limit) | Limit::Below(limit)) = self.limit {
            steps.push(json!({"color": beyond, "value": limit}));
        }
        let mut defaults = json!({
            "unit": self.unit.id(),
            "thresholds": {"mode": "absolute", "steps": steps},
        });
        let options = if self.is_number {
            json!({
                "colorMode": "background",
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            })
        } else {
            let line = if self.limit.is_some() { "line" } else { "off" };
            defaults["color"] = json!({"mode": "palette-classic"});
            defaults["custom"] = json!({
                "axisSoftMin": 0,
                "fillOpacity": 10,
                "lineWidth": 1,
                "showPoints": "never",
                "thresholdsStyle": {"mode": line},
            });
            json!({
                "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            })
        };
        let mut panel = json!({
            "id": id,
            "type": if self.is_number { "stat" } else { "timeseries" },
            "title": self.title,
            "description": self.description(),
            "datasource": datasource(),
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": self.targets(),
        });
        if let Some((title, dashboard)) = self.details {
            let url = format!("/d/logflow-{dashboard}?${{__url_time_range}}");
            panel["links"] = json!([{"title": title, "url": url}]);
        }
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let target = |((expression, legend), id): (&(String, &str), char)| {
            let expression = expression.replace("$of", SELECTED);
            json!({
                "refId": id,
                "datasource": datasource(),
                "editorMode": "code",
                "expr": expression.replace("[$rate]", "[$__rate_interval]"),
                "legendFormat": legend,
                "range": true,
            })
        };
        self.lines.iter().zip('A'..).map(target).collect()
    }
}

impl Dashboard {
    /// The alerts that its panels name.
    pub fn alerts(&self) -> impl Iterator<Item = &'static str> {
        let panels = self.rows.iter().flat_map(|(_, panels)| panels);
        panels.flat_map(|panel| panel.alerts.iter().copied())
    }

    /// The file that Grafana reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let dashboard = json!({
            "uid": format!("logflow-{}", self.name),
            "title": self.title,
            "description": self.about,
            "tags": ["logflow"],
            "schemaVersion": 39,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "links": [{
                "type": "dashboards",
                "title": "logflow",
                "tags": ["logflow"],
                "asDropdown": false,
                "includeVars": false,
                "keepTime": true,
            }],
            "templating": {"list": self.variables()},
            "panels": self.panels(),
        });
        format!("{dashboard:#}\n")
    }

    fn variables(&self) -> Vec<Value> {
        let mut variables = vec![json!({
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        })];
        if let Some(metric) = self.chosen_by {
            variables.push(variable(
                "job",
                "Job",
                &format!("label_values({metric}, job)"),
            ));
            let query = format!("label_values({metric}{{job=~\"$job\"}}, instance)");
            variables.push(variable("instance", "Instance", &query));
        }
        variables
    }

    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let (mut id, mut y) = (0, 0);
        let mut number = || {
            id += 1;
            id
        };
        for (title, row) in &self.rows {
            let grid = json!({"x": 0, "y": y, "w": COLUMNS, "h": 1});
            panels.push(json!({"id": number(), "type": "row", "title": title, "collapsed": false, "gridPos": grid, "panels": []}));
            y += 1;
            let (mut x, mut row_height) = (0, 0);
            for panel in row {
                let (width, height) = panel.size();
                if x + width > COLUMNS {
                    y += row_height;
                    (x, row_height) = (0, 0);
                }
                panels.push(panel.to_json(number(), (x, y)));
                x += width;
                row_height = row_height.max(height);
            }
            y += row_height;
        }
        panels
    }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// One of which several values can be chosen, all of them at first.
fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": datasource(),
        "query": {"qryType": 1, "query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "current": {"text": "All", "value": "$__all"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_stand_side_by_side_and_below_each_other_without_a_gap() {
        let number = || Panel::number("n", Unit::Count, "").line("x{$of}", "");
        let graph = || Panel::graph("g", Unit::Seconds, "").percentiles("y");
        let dashboard = Dashboard {
            name: "test",
            title: "",
            about: "",
            chosen_by: Some("x"),
            rows: vec![
                ("a", vec![number(), number()]),
                ("b", vec![graph(), graph(), graph(), graph()]),
                ("c", vec![number()]),
            ],
        };
        let panels = dashboard.panels();
        let places = panels.iter().map(|panel| {
            let at = &panel["gridPos"];
            (at["x"].as_u64().unwrap(), at["y"].as_u64().unwrap())
        });
        let expected = [
            [(0, 0), (0, 1), (4, 1)].as_slice(),
            &[(0, 5), (0, 6), (8, 6), (16, 6), (0, 14)],
            &[(0, 22), (0, 23)],
        ];
        assert_eq!(places.collect::<Vec<_>>(), expected.concat());
        let expressions = ["/1/targets/0/expr", "/4/targets/1/expr"].map(|path| {
            let panels = Value::from(panels.clone());
            panels.pointer(path).unwrap().clone()
        });
        assert_eq!(
            expressions,
            [
                r#"x{job=~"$job",instance=~"$instance"}"#,
                r#"histogram_quantile(0.95, sum by (le) (rate(y_bucket{job=~"$job",instance=~"$instance"}[$__rate_interval])))"#
            ]
        );
    }

    #[test]
    fn what_is_bad_is_red_whichever_side_it_is_on() {
        let steps = |panel: Panel| {
            panel.to_json(1, (0, 0))["fieldConfig"]["defaults"]["thresholds"]["steps"].clone()
        };
        let panel = || Panel::graph("g", Unit::Count, "");
        assert_eq!(
            steps(panel().bad_above(3.0)),
            json!([{"color": "green", "value": null}, {"color": "red", "value": 3.0}])
        );
        assert_eq!(
            steps(panel().bad_below(1.0)),
            json!([{"color": "red", "value": null}, {"color": "green", "value": 1.0}])
        );
    }
}
