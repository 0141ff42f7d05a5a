//! Decides whether a request stays within the indices that this service was given.
//!
//! In the flow: `endpoint` → **`indices`** → `parameters`.
//! An expression is allowed if it can be proven, from the names alone, that every index it could
//! match is matched by `--index`, too. What cannot be proven is refused.

use crate::config::IndexExpression;
use crate::error::{Code, Problem};

/// The longest expression, in bytes: three years of daily indices, each named.
const EXPRESSION_BYTES_MAX: usize = 32 << 10;

/// The expression to send for the one that was asked for. None, an empty one, `_all` and `*` mean all
/// indices there are, and here those of `--index`.
///
/// # Errors
/// [`Code::NotAllowed`] with the part that is not covered.
pub fn within(asked: Option<&str>, configured: &IndexExpression) -> Result<String, Problem> {
    let asked = asked.unwrap_or_default();
    if matches!(asked, "" | "_all" | "*") {
        return Ok(configured.as_str().to_owned());
    }
    let refused = |part: &str, why: &str| {
        let part: String = part.chars().take(128).collect();
        let configured = configured.as_str();
        Problem::new(
            Code::NotAllowed,
            format!("the index `{part}` {why}; ask for a part of `{configured}` (`--index`)"),
        )
    };
    if asked.len() > EXPRESSION_BYTES_MAX {
        return Err(refused(asked, "begins a list that is too long"));
    }
    // No `<date-{math}>`, no `a::selector`, nothing that would have to be escaped in a path.
    let legal = asked.parse::<IndexExpression>().is_ok();
    let configured_parts = || configured.as_str().split(',');
    let excluded = || configured_parts().filter_map(|part| part.strip_prefix('-'));
    let mut has_wildcard = false;
    for part in asked.split(',') {
        if !legal && part.parse::<IndexExpression>().is_err() {
            return Err(refused(part, "is no plain name or pattern"));
        }
        if part.starts_with('-') {
            // What is taken away needs no permission. With a cluster it means another thing.
            if part.contains(':') {
                return Err(refused(part, "excludes in another cluster"));
            }
            continue;
        }
        has_wildcard |= part.contains('*');
        let covered = configured_parts()
            .filter(|pattern| !pattern.starts_with('-'))
            .any(|pattern| covers(pattern, part));
        if !covered {
            return Err(refused(part, "is not among those that are open here"));
        }
        if !part.contains('*') && excluded().any(|pattern| covers(pattern, part)) {
            return Err(refused(part, "is excluded here"));
        }
    }
    let mut expression = asked.to_owned();
    if has_wildcard {
        for pattern in excluded() {
            expression.push_str(",-");
            expression.push_str(pattern);
        }
    }
    Ok(expression)
}

/// Whether whatever `part` matches is matched by `pattern`: never falsely.
fn covers(pattern: &str, part: &str) -> bool {
    let split = |text: &str| match text.split_once(':') {
        Some((cluster, index)) => (Some(cluster.to_owned()), index.to_owned()),
        None => (None, text.to_owned()),
    };
    let (pattern_cluster, pattern) = split(pattern);
    let (part_cluster, part) = split(part);
    // `index::selector` reads as a cluster, and is none.
    if part.contains(':') {
        return false;
    }
    let clusters = match (pattern_cluster, part_cluster) {
        (None, None) => true,
        (Some(pattern), Some(part)) => includes(pattern.as_bytes(), part.as_bytes()),
        (None, Some(_)) | (Some(_), None) => false,
    };
    clusters && includes(pattern.as_bytes(), part.as_bytes())
}

/// Whether the language of the pattern `inner` lies in that of `outer`. A `*` of `inner` stands for any
/// text, so only a `*` of `outer` can take it.
fn includes(outer: &[u8], inner: &[u8]) -> bool {
    let (mut o, mut i) = (0, 0);
    // Where to go on after the latest `*` of `outer` took one more.
    let mut retry: Option<(usize, usize)> = None;
    while i < inner.len() {
        match outer.get(o) {
            Some(b'*') => {
                retry = Some((o + 1, i));
                o += 1;
            }
            Some(byte) if *byte == inner[i] && *byte != b'*' => {
                o += 1;
                i += 1;
            }
            _ => match retry {
                Some((after, taken)) => {
                    retry = Some((after, taken + 1));
                    o = after;
                    i = taken + 1;
                }
                None => return false,
            },
        }
    }
    outer[o..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(asked: &str, configured: &str) -> Option<String> {
        within(Some(asked), &configured.parse().unwrap()).ok()
    }

    #[test]
    fn all_indices_are_those_of_the_operator() {
        for all in ["", "_all", "*"] {
            assert_eq!(sent(all, "logflow-*").as_deref(), Some("logflow-*"));
        }
        let configured = "a-*,-a-x".parse().unwrap();
        assert_eq!(within(None, &configured).unwrap(), "a-*,-a-x");
    }

    #[test]
    fn a_part_of_them_is_sent_as_it_was_asked() {
        for (asked, configured) in [
            ("logflow-*", "logflow-*"),
            ("logflow-2026.01.31", "logflow-*"),
            ("logflow-2026.*,logflow-2025.12.31", "logflow-*"),
            ("logflow-*,-logflow-2025.*", "logflow-*"),
            ("logflow-**", "logflow-*"),
            ("a,b-1", "a,b-*"),
            ("eu:logs-1,eu:logs-2*", "eu:logs-*"),
            ("eu:logs-1", "*:logs-*"),
            ("e*:logs-*", "*:logs-*"),
            ("anything", "*"),
        ] {
            assert_eq!(sent(asked, configured).as_deref(), Some(asked), "{asked}");
        }
    }

    #[test]
    fn what_the_operator_excludes_stays_excluded() {
        assert_eq!(sent("b-*", "a,b-*,-b-x*").as_deref(), Some("b-*,-b-x*"));
        assert_eq!(sent("b-1", "a,b-*,-b-x*").as_deref(), Some("b-1"));
        assert_eq!(sent("b-x1", "a,b-*,-b-x*"), None);
    }

    #[test]
    fn what_is_not_provably_within_is_refused() {
        for (asked, configured) in [
            ("secrets", "logflow-*"),
            ("logflow-*,secrets", "logflow-*"),
            ("logflow*", "logflow-*"),
            ("*-2026.01.31", "logflow-*"),
            ("*,-secrets", "logflow-*"),
            ("logflow-1,_all", "logflow-*"),
            ("eu:logflow-1", "logflow-*"),
            ("logflow-a:secrets", "logflow-*"),
            ("logflow-a::failures", "logflow-*"),
            ("logflow-a::failures", "*:*"),
            ("logflow-1", "*:logflow-*"),
            ("us:logs-1", "eu:logs-*"),
            ("*:logs-1", "eu:logs-*"),
            ("-eu:*,logflow-1", "logflow-*"),
            ("<logflow-{now/d}>", "logflow-*"),
            ("logflow-1,,logflow-2", "logflow-*"),
            ("logflow-1/_bulk", "logflow-*"),
            ("logflow-1?x", "logflow-*"),
            ("logflow-1 ", "logflow-*"),
            (".security", "logflow-*"),
        ] {
            assert_eq!(sent(asked, configured), None, "{asked} in {configured}");
        }
        let long = format!("logflow-{}", "1".repeat(EXPRESSION_BYTES_MAX));
        assert_eq!(sent(&long, "logflow-*"), None);
    }

    #[test]
    fn a_refusal_names_the_part_and_what_is_open() {
        let configured = "logflow-*".parse().unwrap();
        let problem = within(Some("logflow-1,secrets"), &configured).unwrap_err();
        assert_eq!(problem.code, Code::NotAllowed);
        assert_eq!(
            problem.detail,
            "the index `secrets` is not among those that are open here; ask for a part of `logflow-*` (`--index`)"
        );
    }

    /// Whether an index belongs to an expression, tried letter by letter.
    fn names(pattern: &[u8], index: &[u8]) -> bool {
        match (pattern.first(), index.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                names(&pattern[1..], index) || (!index.is_empty() && names(pattern, &index[1..]))
            }
            (Some(p), Some(i)) => p == i && names(&pattern[1..], &index[1..]),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// As Elasticsearch resolves it: parts in turn; what is excluded after a wildcard is taken away.
    fn resolves(expression: &str, index: &str) -> bool {
        let (mut found, mut wildcard) = (false, false);
        for part in expression.split(',') {
            match part.strip_prefix('-') {
                Some(excluded) if wildcard => {
                    found &= !names(excluded.as_bytes(), index.as_bytes());
                }
                _ => found |= names(part.as_bytes(), index.as_bytes()),
            }
            wildcard |= part.contains('*');
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        // QA-1 and the operator's `--index`.
        #[test]
        fn no_index_is_reached_that_the_operator_did_not_open(
            asked in "(-?[ab*]{1,4})(,-?[ab*]{1,4}){0,2}",
            configured in "([ab*]{1,4})(,-?[ab*]{1,4}){0,2}",
            indices in proptest::collection::vec("[ab]{1,5}", 8),
        ) {
            if let Some(sent) = sent(&asked, &configured) {
                for index in &indices {
                    let open = configured.split(',').filter(|part| !part.starts_with('-'));
                    let shut = configured.split(',').filter_map(|part| part.strip_prefix('-'));
                    let is_open = open.into_iter().any(|p| names(p.as_bytes(), index.as_bytes()));
                    let is_shut = shut.into_iter().any(|p| names(p.as_bytes(), index.as_bytes()));
                    let all = sent == configured;
                    prop_assert!(
                        !resolves(&sent, index) || all || (is_open && !is_shut),
                        "`{asked}` became `{sent}` and reaches `{index}`, outside `{configured}`"
                    );
                }
            }
        }

        #[test]
        fn a_pattern_includes_another_if_and_only_if_no_name_tells_them_apart(
            outer in "[ab*]{0,5}",
            inner in "[ab*]{0,5}",
            fills in proptest::collection::vec("[abc]{0,3}", 12),
        ) {
            let included = includes(outer.as_bytes(), inner.as_bytes());
            for fill in &fills {
                let index = inner.replace('*', fill);
                prop_assert!(!included || names(outer.as_bytes(), index.as_bytes()));
            }
            // A letter that neither knows can only be taken by a `*`.
            let strange = inner.replace('*', "z");
            prop_assert_eq!(included, names(outer.as_bytes(), strange.as_bytes()));
        }
    }
}
