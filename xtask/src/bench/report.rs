//! What was measured, round by round, and how it is told.
//!
//! In the flow: every part of `bench` → **`bench::report`**. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// A figure that every contender of a section has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its name in JSON.
    pub(super) key: &'static str,
    /// Its name in the table.
    pub(super) title: &'static str,
    /// Digits behind the point.
    pub(super) digits: usize,
}

impl Column {
    pub(super) const fn new(key: &'static str, title: &'static str, digits: usize) -> Self {
        Self { key, title, digits }
    }
}

/// What a service spends on a million events.
pub(super) const CPU_PER_MILLION: Column =
    Column::new("cpu_seconds_per_million", "CPU s per million", 2);
/// The most that a service holds.
pub(super) const PEAK: Column = Column::new("peak_mib", "peak MiB", 0);

/// The figures of one contender in one round, in the order of the section's columns; what it does not have is NaN.
pub(super) type Figures = Vec<f64>;

/// One contender.
#[derive(Debug, Clone)]
struct Contender {
    name: String,
    rounds: Vec<Figures>,
}

/// Contenders that were measured in turns.
#[derive(Debug, Clone)]
pub(super) struct Section {
    title: String,
    columns: Vec<Column>,
    contenders: Vec<Contender>,
    /// In the first column, every contender is set in relation to this one, round by round.
    reference: Option<String>,
    notes: Vec<String>,
}

impl Section {
    pub(super) fn new(title: &str, columns: &[Column]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.to_vec(),
            contenders: Vec::new(),
            reference: None,
            notes: Vec::new(),
        }
    }

    /// Sets all in relation to the contender of that name.
    pub(super) fn relative_to(mut self, name: &str) -> Self {
        self.reference = Some(name.to_owned());
        self
    }

    /// Something that one must know to read the table.
    pub(super) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Adds a round of a contender.
    pub(super) fn add(&mut self, name: &str, figures: Figures) {
        match self.contenders.iter_mut().find(|one| one.name == name) {
            Some(contender) => contender.rounds.push(figures),
            None => self.contenders.push(Contender {
                name: name.to_owned(),
                rounds: vec![figures],
            }),
        }
    }

    /// The ratios of the first figure to the reference's of the same round.
    fn ratios(&self, contender: &Contender) -> Option<Vec<f64>> {
        let reference = self.reference.as_ref()?;
        let reference = self.contenders.iter().find(|one| one.name == *reference)?;
        let pairs = contender.rounds.iter().zip(&reference.rounds);
        Some(pairs.map(|(own, other)| own[0] / other[0]).collect())
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut page = format!("### {}\n\n|", self.title);
        let titles = self.columns.iter().map(|column| column.title);
        let relation = self.reference.as_ref().map(|name| format!("of {name}"));
        for title in titles.chain(relation.as_deref()) {
            write!(page, " | {title}").ok();
        }
        page.push_str(" |\n|---");
        for _ in 0..self.columns.len() + usize::from(relation.is_some()) {
            page.push_str("|---:");
        }
        page.push_str("|\n");
        for contender in &self.contenders {
            write!(page, "| {}", contender.name).ok();
            for (n, column) in self.columns.iter().enumerate() {
                let samples = contender.rounds.iter().map(|figures| figures[n]);
                write!(
                    page,
                    " | {}",
                    cell(&samples.collect::<Vec<_>>(), column.digits)
                )
                .ok();
            }
            if let Some(ratios) = self.ratios(contender) {
                let percent: Vec<f64> = ratios.iter().map(|ratio| ratio * 100.0).collect();
                write!(page, " | {} %", cell(&percent, 0)).ok();
            }
            page.push_str(" |\n");
        }
        for note in &self.notes {
            write!(page, "\n{note}\n").ok();
        }
        page
    }

    pub(super) fn to_json(&self) -> Value {
        let contenders = self.contenders.iter().map(|contender| {
            let mut figures = Map::new();
            for (n, column) in self.columns.iter().enumerate() {
                let samples = contender.rounds.iter().map(|figures| figures[n]);
                figures.insert(column.key.to_owned(), json!(samples.collect::<Vec<_>>()));
            }
            json!({ "name": contender.name, "rounds": figures })
        });
        json!({
            "title": self.title,
            "contenders": contenders.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// The median and, where there are several, the least and the most.
fn cell(samples: &[f64], digits: usize) -> String {
    let mut sorted: Vec<f64> = samples
        .iter()
        .copied()
        .filter(|one| one.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let median = number(median(&sorted), digits);
    match sorted.len() {
        1 => median,
        _ => format!(
            "{median} ({}–{})",
            number(*least, digits),
            number(*most, digits)
        ),
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// With a comma between thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |(w, r)| (w, r));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match rest {
        "" => format!("{sign}{grouped}"),
        rest => format!("{sign}{grouped}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [
        Column::new("events_per_second", "events/s", 0),
        Column::new("cpu", "CPU s/M", 2),
    ];

    #[test]
    fn a_section_tells_medians_spreads_and_the_ratio_of_each_round() {
        let mut section = Section::new("Reading", &COLUMNS).relative_to("ceiling");
        for (ceiling, own) in [
            (2_000_000.0, 1_000_000.0),
            (1_000_000.0, 800_000.0),
            (3_000_000.0, 900_000.0),
        ] {
            section.add("ceiling", vec![ceiling, 0.5]);
            section.add("es-sink", vec![own, 1.25]);
        }
        section.add("peer", vec![250.5, f64::NAN]);
        section.note("In turns.");
        assert_eq!(
            section.to_markdown(),
            "### Reading\n\n| | events/s | CPU s/M | of ceiling |\n|---|---:|---:|---:|\n\
             | ceiling | 2,000,000 (1,000,000–3,000,000) | 0.50 (0.50–0.50) | 100 (100–100) % |\n\
             | es-sink | 900,000 (800,000–1,000,000) | 1.25 (1.25–1.25) | 50 (30–80) % |\n\
             | peer | 250 | – | 0 % |\n\nIn turns.\n"
        );
        let json = section.to_json();
        assert_eq!(
            json["contenders"][1]["rounds"]["cpu"],
            json!([1.25, 1.25, 1.25])
        );
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(cell(&[4.0, 1.0, 3.0, 2.0], 1), "2.5 (1.0–4.0)");
        assert_eq!(cell(&[], 1), "–");
        assert_eq!(number(-1_234_567.891, 2), "-1,234,567.89");
        assert_eq!(number(999.0, 0), "999");
    }
}
