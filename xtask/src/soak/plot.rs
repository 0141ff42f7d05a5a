//! Memory over time: whether it grows, and a picture of it.
//!
//! In the flow: part of `soak`. Pure.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
/// Room for the words around the picture.
const MARGIN: f64 = 60.0;

/// The memory of one service.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    color: &'static str,
    /// Minutes and MiB.
    pub(super) points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(name: &'static str, color: &'static str) -> Self {
        Self {
            name,
            color,
            points: Vec::new(),
        }
    }

    /// What it holds at present.
    pub(super) fn now(&self) -> String {
        let mib = self.points.last().map_or(0.0, |(_, mib)| *mib);
        format!("{} {mib:.0} MiB", self.name)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "peak_mib": peak(&self.points),
            "growth_percent": growth_percent(&self.points),
            "minutes_and_mib": self.points.iter().step_by(6).map(|(minutes, mib)| [round(*minutes), round(*mib)]).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quarter = |from: usize, to: usize| mean(&quarters(&self.points, from, to));
        write!(
            f,
            "{}: {:.1} MiB in the second quarter, {:.1} in the last ({:+.1} %), at most {:.1}",
            self.name,
            quarter(1, 2),
            quarter(3, 4),
            growth_percent(&self.points),
            peak(&self.points)
        )
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn peak(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, mib)| *mib).fold(0.0, f64::max)
}

fn quarters(points: &[(f64, f64)], from: usize, to: usize) -> Vec<f64> {
    let n = points.len();
    let part = &points[n * from / 4..n * to / 4];
    part.iter().map(|(_, mib)| *mib).collect()
}

fn mean(values: &[f64]) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let n = values.len().max(1) as f64;
    values.iter().sum::<f64>() / n
}

/// By how much the mean of the last quarter exceeds that of the second: in the first, buffers are made.
pub(super) fn growth_percent(points: &[(f64, f64)]) -> f64 {
    let before = mean(&quarters(points, 1, 2));
    let after = mean(&quarters(points, 3, 4));
    if before > 0.0 {
        (after / before - 1.0) * 100.0
    } else {
        0.0
    }
}

/// The picture.
pub(super) fn svg(title: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let minutes = all().map(|(minutes, _)| *minutes).fold(1.0, f64::max);
    let top = (all().map(|(_, mib)| *mib).fold(1.0, f64::max) / 20.0).ceil() * 20.0;
    let x = |value: f64| MARGIN + value / minutes * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / top * (HEIGHT - 2.0 * MARGIN);
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{title}</text>\n"
    );
    let mut mark = 0.0;
    while mark <= top {
        let at = y(mark);
        writeln!(
            page,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e5e7eb\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{mark:.0} MiB</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            at + 4.0
        )
        .ok();
        mark += 20.0;
    }
    for part in 0..=6_u32 {
        let at = minutes * f64::from(part) / 6.0;
        writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at:.0} min</text>",
            x(at),
            HEIGHT - MARGIN + 18.0
        )
        .ok();
    }
    for (n, line) in lines.iter().enumerate() {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(minutes, mib)| format!("{:.1},{:.1}", x(*minutes), y(*mib)))
            .collect();
        #[allow(clippy::cast_precision_loss)]
        let legend = MARGIN + n as f64 * 160.0;
        writeln!(
            page,
            "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"1.5\" points=\"{1}\"/>\n<text x=\"{legend}\" y=\"{2}\" fill=\"{0}\">{3}</text>",
            line.color,
            points.join(" "),
            HEIGHT - 12.0,
            line.name
        )
        .ok();
    }
    page + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(memory: impl Fn(u32) -> f64) -> Line {
        let mut line = Line::new("es-sink", "#000000");
        line.points = (0..40).map(|n| (f64::from(n), memory(n))).collect();
        line
    }

    #[test]
    fn what_is_flat_after_its_beginning_does_not_grow_and_what_leaks_does() {
        let flat = line(|n| if n < 10 { f64::from(n) } else { 40.0 });
        assert!(growth_percent(&flat.points).abs() < 1e-9);
        let leaks = line(|n| 40.0 + f64::from(n));
        assert!(growth_percent(&leaks.points) > 30.0);
        assert!(growth_percent(&[]).abs() < 1e-9);
    }

    #[test]
    fn the_picture_has_each_line_and_its_name() {
        let picture = svg("title", &[line(|_| 30.0), line(|_| 50.0)]);
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(
            picture.contains(">60 MiB<") && picture.contains(">es-sink<"),
            "{picture}"
        );
        assert!(picture.ends_with("</svg>\n"));
    }
}
