//! The rules of this repository that no other tool checks.
//!
//! Each rule is a pure function from text to faults, with a test beside it; [`faults`] reads the files and applies them.
//! A rule stands here or nowhere: what no tool checks is not a rule.

mod alerts;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use yaml_rust2::YamlLoader;

use crate::command::output;

/// No source file is longer, tests apart.
const LINES_MAX: usize = 500;

/// Files that are longer, each with the reason.
const LONGER_FILES: &[(&str, &str)] = &[];

/// What the sink's pure machine must not depend on: the world.
const NOT_PURE: &[&str] = &[
    "tokio",
    "rdkafka",
    "reqwest",
    "axum",
    "elasticsearch",
    "hyper",
];

/// One file of the repository, as text.
#[derive(Debug)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// Everything that breaks a rule, one line each, beginning with the file.
///
/// # Errors
/// When git or cargo cannot be asked, or a file cannot be read.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let sources = sources(root)?;
    let mut faults = Vec::new();
    for source in &sources {
        // `thing/tests.rs` is the end of `thing.rs`, put aside.
        if source.path.ends_with(".rs") && !source.path.ends_with("/tests.rs") {
            faults.extend(header_faults(source));
            if !source.is_test() {
                faults.extend(length_faults(source, LONGER_FILES));
            }
        }
        faults.extend(leftover_faults(source));
        faults.extend(syntax_faults(source));
    }
    faults.extend(
        LONGER_FILES
            .iter()
            .filter(|(path, _)| !sources.iter().any(|source| source.path == *path))
            .map(|(path, _)| {
                format!("{path}: is excepted from the {LINES_MAX} lines and does not exist")
            }),
    );
    faults.extend(guarantee_faults(&sources));
    faults.extend(alert_faults(&sources));
    faults.extend(purity_faults(root)?);
    Ok(faults)
}

/// Every text file that git tracks or would track.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let directory = root.to_string_lossy();
    let list = output(
        "git",
        &[
            "-C",
            &directory,
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ],
    )
    .context("git cannot list the repository's files")?;
    let mut sources = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let file = root.join(path);
        // Deleted but not yet committed, or a link to a directory.
        if !file.is_file() {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

/// A source file says at its top what it decides or does.
fn header_faults(source: &Source) -> Option<String> {
    (!source.text.starts_with("//! "))
        .then(|| format!("{}: does not open with a `//!` header", source.path))
}

/// A source file is short enough to be read at once.
fn length_faults(source: &Source, longer: &[(&str, &str)]) -> Option<String> {
    let lines = source
        .text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .count();
    let excepted = longer.iter().any(|(path, _)| *path == source.path);
    match (lines > LINES_MAX, excepted) {
        (true, false) => Some(format!(
            "{}: has {lines} lines before its tests, {LINES_MAX} are the limit",
            source.path
        )),
        (false, true) => Some(format!(
            "{}: is excepted from the {LINES_MAX} lines without need",
            source.path
        )),
        _ => None,
    }
}

/// Nothing is left for later, and no test is switched off.
fn leftover_faults(source: &Source) -> Vec<String> {
    // Put together here, so that this file keeps its own rule.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
    ];
    let switched_off = [
        concat!("#[ig", "nore"),
        concat!(".only", "("),
        concat!(".sk", "ip(true"),
    ];
    let code = [".rs", ".js", ".ts", ".toml", ".yaml", ".yml", ".sh", ".md"];
    if !code.iter().any(|ending| source.path.ends_with(ending)) && !source.path.starts_with(".ci/")
    {
        return Vec::new();
    }
    let is_code = source.path.ends_with(".rs");
    let mut faults = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let found = words.iter().find(|word| has_word(line, word));
        let off = switched_off
            .iter()
            .find(|mark| is_code && line.trim_start().starts_with(**mark));
        for mark in found.into_iter().chain(off) {
            faults.push(format!(
                "{}:{}: `{mark}`: finish it or open an issue",
                source.path,
                number + 1
            ));
        }
    }
    faults
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            && (word.ends_with('(')
                || !after.is_some_and(|letter| letter.is_alphanumeric() || letter == '_'))
    })
}

/// What is deployed can at least be read by what will read it.
fn syntax_faults(source: &Source) -> Option<String> {
    let path = &source.path;
    let fault = if path.ends_with(".json") {
        serde_json::from_str::<serde_json::Value>(&source.text)
            .err()
            .map(|error| error.to_string())
    } else if path.ends_with(".toml") {
        source
            .text
            .parse::<toml::Table>()
            .err()
            .map(|error| error.message().to_owned())
    } else if (path.ends_with(".yaml") || path.ends_with(".yml"))
        // A Helm template is YAML only after rendering, and a template of ours only after filling.
        && !path.contains("/templates/")
        && !path.starts_with("deploy/local/")
    {
        YamlLoader::load_from_str(&source.text)
            .err()
            .map(|error| error.to_string())
    } else {
        None
    };
    fault.map(|fault| format!("{path}: cannot be parsed: {fault}"))
}

/// Every promise in docs/guarantees.md is kept somewhere in the code and proven by a test, both by its id.
fn guarantee_faults(sources: &[Source]) -> Vec<String> {
    const LIST: &str = "docs/guarantees.md";
    let Some(list) = sources.iter().find(|source| source.path == LIST) else {
        return vec![format!(
            "{LIST}: is missing; it lists every promise with its id"
        )];
    };
    let ids = guarantee_ids(&list.text);
    let mut faults = Vec::new();
    if ids.is_empty() {
        faults.push(format!("{LIST}: lists no promise"));
    }
    let (mut code, mut tests) = (String::new(), String::new());
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let (before, after) = match source.text.split_once("#[cfg(test)]") {
            _ if source.is_test() => ("", source.text.as_str()),
            Some(parts) => parts,
            None => (source.text.as_str(), ""),
        };
        code.push_str(before);
        tests.push_str(after);
    }
    for id in ids {
        for (place, text) in [("code", &code), ("a test", &tests)] {
            if !has_word(text, &id) {
                faults.push(format!("{LIST}: {id} does not appear in {place}"));
            }
        }
    }
    faults
}

/// Every alert has its paragraph, its test, and nothing else has.
fn alert_faults(sources: &[Source]) -> Vec<String> {
    let text = |path: &str| {
        let found = sources.iter().find(|source| source.path == path);
        found.map_or("", |source| source.text.as_str())
    };
    alerts::faults(
        text(alerts::RULES),
        text(alerts::TESTS),
        text(alerts::RUNBOOKS),
    )
}

/// The ids in a text, each once: `GW-1`, `EO-4`, `AR-2`, `QA-1`.
fn guarantee_ids(text: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for family in ["GW-", "EO-", "AR-", "QA-"] {
        for (at, _) in text.match_indices(family) {
            let digits: String = text[at + family.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            let id = format!("{family}{digits}");
            if !digits.is_empty() && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// The sink's decisions depend on nothing that touches the world.
fn purity_faults(root: &Path) -> Result<Vec<String>> {
    let manifest = root.join("Cargo.toml");
    let manifest = manifest.to_string_lossy();
    let tree = output(
        "cargo",
        &[
            "tree",
            "--manifest-path",
            &manifest,
            "-p",
            "es-sink-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--locked",
        ],
    )
    .context("`cargo tree -p es-sink-core` fails; is Cargo.lock up to date?")?;
    Ok(NOT_PURE
        .iter()
        .filter(|name| {
            tree.lines()
                .any(|line| line.split(' ').next() == Some(**name))
        })
        .map(|name| format!("es-sink/core/Cargo.toml: depends on `{name}`, and is to be pure"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_source_file_without_a_header_is_named() {
        assert!(header_faults(&source("a.rs", "//! Decides.\n")).is_none());
        assert!(header_faults(&source("a.rs", "use std::fs;\n")).is_some());
    }

    #[test]
    fn tests_do_not_count_as_length_and_an_exception_must_be_needed() {
        let long = "x\n".repeat(501);
        assert!(length_faults(&source("a.rs", &long), &[]).is_some());
        assert!(length_faults(&source("a.rs", &long), &[("a.rs", "a table")]).is_none());
        assert!(length_faults(&source("a.rs", &format!("x\n#[cfg(test)]\n{long}")), &[]).is_none());
        assert!(length_faults(&source("a.rs", "x\n"), &[("a.rs", "a table")]).is_some());
    }

    #[test]
    fn leftovers_are_named_with_their_line() {
        let text = format!("fine\n// {}: later\n", concat!("TO", "DO"));
        assert!(leftover_faults(&source("a.rs", &text))[0].starts_with("a.rs:2: "));
        let text = format!("    {}]\nfn test() {{}}\n", concat!("#[ig", "nore"));
        assert_eq!(leftover_faults(&source("a.rs", &text)).len(), 1);
        assert!(leftover_faults(&source("a.rs", "let todos = AUTODOC;\n")).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_named() {
        for (path, bad, good) in [
            ("a.json", "{", "{}"),
            ("a.toml", "a = ", "a = 1"),
            ("a.yaml", "a: [1", "a: [1]"),
        ] {
            assert!(syntax_faults(&source(path, bad)).is_some(), "{path}");
            assert!(syntax_faults(&source(path, good)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_promise_needs_code_and_a_test() {
        let list = source("docs/guarantees.md", "| XX-9 | EO-1 | EO-12 |");
        let code = source(
            "a/src/a.rs",
            "//! Upholds EO-1 and EO-12.\n#[cfg(test)]\n// EO-12\n",
        );
        assert_eq!(
            guarantee_faults(&[list, code]),
            ["docs/guarantees.md: EO-1 does not appear in a test"]
        );
        assert_eq!(guarantee_faults(&[]).len(), 1);
    }
}
