//! The name of the index that a record goes to, made once for a run of records.
//!
//! In the flow: `sink` → **`index_names`** → `bulk_request`. Upholds EO-3: a
//! function of the record's day and tenant; what is remembered only saves time.

use std::collections::BTreeMap;

use log_event::document::{IndexPattern, UtcDay};

/// So many tenants are remembered; with more, names are made more often.
const TENANTS_MAX: usize = 1_000;

/// Names indices by a pattern, and remembers each tenant's last one.
#[derive(Debug)]
pub(crate) struct IndexNames {
    pattern: IndexPattern,
    is_by_tenant: bool,
    last: BTreeMap<String, (UtcDay, String)>,
}

impl IndexNames {
    pub(crate) fn new(pattern: IndexPattern) -> Self {
        Self {
            is_by_tenant: pattern.is_by_tenant(),
            pattern,
            last: BTreeMap::new(),
        }
    }

    /// The index of a tenant's day.
    pub(crate) fn name(&mut self, day: UtcDay, tenant: Option<&str>) -> &str {
        let tenant = tenant.filter(|_| self.is_by_tenant);
        let key = tenant.unwrap_or_default();
        if self.last.get(key).is_none_or(|(of, _)| *of != day) {
            if self.last.len() >= TENANTS_MAX {
                self.last.clear();
            }
            let name = self.pattern.index_name(day, tenant);
            self.last.insert(key.to_owned(), (day, name));
        }
        self.last.get(key).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<(i64, Option<String>)>> {
        let day = (0..3i64).prop_map(|day| day * 86_400_000);
        let tenant = proptest::option::of((0..2 * TENANTS_MAX).prop_map(|n| format!("t{n}")));
        prop::collection::vec((day, tenant), 0..3 * TENANTS_MAX)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_remembered_is_what_the_pattern_says(records in records(), by_tenant: bool) {
            let text = if by_tenant { "logs-{tenant}-{date}" } else { "logs-{date}" };
            let pattern: IndexPattern = text.parse().unwrap();
            let mut names = IndexNames::new(pattern.clone());
            for (millis, tenant) in records {
                let day = UtcDay::of_millis(millis);
                let expected = pattern.index_name(day, tenant.as_deref());
                prop_assert_eq!(names.name(day, tenant.as_deref()), expected);
                prop_assert!(names.last.len() <= TENANTS_MAX);
            }
        }
    }
}
