//! Decides what stands in an engine's configuration file: a template, its values, and lines that replace others.
//!
//! In the flow: `provision` → **`template`** → `kafka`, `elasticsearch`. Pure.

use anyhow::{Result, bail};

/// Puts `values` in the place of their `@name@`s.
///
/// # Errors
/// When a placeholder has no value, naming it.
pub fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let mut parts = line.split('@');
        parts.next();
        if let (Some(name), Some(_)) = (parts.next(), parts.next())
            && !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            bail!("the template's `@{name}@` has no value");
        }
    }
    Ok(text)
}

/// Sets `settings` in a file of `key<separator>value` lines: a line with the same key is replaced, others are added.
#[must_use]
pub fn set(text: &str, separator: char, settings: &[(String, String)]) -> String {
    let key_of = |line: &str| {
        line.split(separator)
            .next()
            .map(|key| key.trim().to_owned())
    };
    let is_set = |line: &&str| {
        !settings
            .iter()
            .any(|(key, _)| key_of(line).as_deref() == Some(key))
    };
    let kept = text.lines().filter(is_set).map(str::to_owned);
    let space = if separator == ':' { " " } else { "" };
    let added = settings
        .iter()
        .map(|(key, value)| format!("{key}{separator}{space}{value}"));
    kept.chain(added).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_every_placeholder_or_names_the_one_it_cannot() {
        let values = [("port", "9".to_owned()), ("data", "/d".to_owned())];
        assert_eq!(
            fill("# at @ signs\na=@data@:@port@/@port@", &values).unwrap(),
            "# at @ signs\na=/d:9/9"
        );
        assert_eq!(
            fill("a=@heap@", &values).unwrap_err().to_string(),
            "the template's `@heap@` has no value"
        );
    }

    #[test]
    fn a_setting_replaces_its_line_and_leaves_the_others() {
        let settings = [
            ("a".to_owned(), "2".to_owned()),
            ("c".to_owned(), "3".to_owned()),
        ];
        assert_eq!(
            set("a=1\nab=1\n# note\n", '=', &settings),
            "ab=1\n# note\na=2\nc=3\n"
        );
        assert_eq!(set("a: 1\n", ':', &settings), "a: 2\nc: 3\n");
    }
}
