//! Whose an event is, where several share one pipeline.
//!
//! In the flow: the gateway reads it from the client's key → **`tenant`** →
//! `event_id`, `record`; the sink may give each an index of its own, and a
//! search of a tenant's reads no other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most characters of a tenant's name: with it an index name stays within
/// Elasticsearch's 255 bytes (create index API documentation).
pub const TENANT_CHARS_MAX: usize = 40;
/// Stands for the tenant in the name of an index whose events have none; no tenant is called so.
pub const NO_TENANT: &str = "_";

/// The name of a tenant: lower-case letters, digits and `_`, a letter or a
/// digit first. There is no `-` in it, so that no tenant's indices look like
/// those of another whose name it begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// Why a text names no tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no tenant: 1 to {TENANT_CHARS_MAX} lower-case letters, digits or `_`, a letter or a digit first"
)]
pub struct NoTenantName(String);

impl Tenant {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = NoTenantName;

    fn from_str(text: &str) -> Result<Self, NoTenantName> {
        match is_name(text) {
            true => Ok(Self(text.into())),
            false => Err(NoTenantName(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the text may be a tenant's name.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=TENANT_CHARS_MAX).contains(&text.len())
        && !text.starts_with('_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_an_index_name_and_is_no_other_s_beginning() {
        for text in ["shop", "7", "shop_eu_2", &"x".repeat(40)] {
            assert_eq!(text.parse::<Tenant>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "_",
            "_shop",
            "Shop",
            "shop-eu",
            "shop.eu",
            "shop*",
            "shöp",
            "a,b",
            &"x".repeat(41),
        ] {
            assert!(text.parse::<Tenant>().is_err(), "{text}");
        }
    }
}
