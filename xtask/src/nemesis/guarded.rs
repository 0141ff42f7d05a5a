//! Gives the Elasticsearch nodes a user for the sinks, who can lose the role or be forgotten while they run.
//!
//! In the flow: **`guarded`** → `cluster` → `inflict`. Files of the node's configuration; the node looks at them each
//! second. Everybody who gives no name is the operator, so that probes and checks need no password; Elasticsearch gives
//! the operator's roles to every user besides, so the operator may do everything but write.
//! The password is no secret: it opens a node on loopback that lives for minutes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The sinks' name and password, as in an address.
pub(super) const SINK: &str = "sink:nemesis-sink";
/// The same password as bcrypt keeps it, in the fewest rounds there are.
const USERS: &str = "sink:$2a$04$N9qo8uLOickgx2ZMRZoMyex4r8h6D2dhJJAjDssrbISkm0zz1u6yG\n";
const USERS_ROLES: &str = "indexer:sink\n";

/// What the sinks may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// All they need.
    Whole,
    /// No writing.
    Stripped,
}

impl Role {
    fn text(self) -> String {
        let privileges = match self {
            Self::Whole => "auto_configure, create_index, index, view_index_metadata, write",
            Self::Stripped => "view_index_metadata",
        };
        format!(
            "indexer:\n  cluster: [ manage_index_templates, monitor ]\n  indices:\n    - names: [ 'logflow-*' ]\n      privileges: [ {privileges} ]\n\
             operator:\n  cluster: [ all ]\n  indices:\n    - names: [ '*' ]\n      privileges: [ manage, read ]\n"
        )
    }
}

/// Lines of `elasticsearch.yml`.
pub(super) fn settings() -> Vec<(String, String)> {
    [
        ("xpack.security.enabled", "true"),
        ("xpack.security.transport.ssl.enabled", "false"),
        ("xpack.security.authc.anonymous.username", "operator"),
        ("xpack.security.authc.anonymous.roles", "operator"),
        ("resource.reload.interval.high", "1s"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Writes the user and the whole role for a node that has not been prepared yet.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn create_user(node: &Path) -> Result<()> {
    let config = node.join("config");
    fs::create_dir_all(&config).with_context(|| format!("cannot create `{}`", config.display()))?;
    put(&config.join("users_roles"), USERS_ROLES)?;
    set_user(node, true)?;
    set_role(node, Role::Whole)
}

/// Lets a node know the sinks' user or not. The node notices within two seconds.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn set_user(node: &Path, known: bool) -> Result<()> {
    put(&node.join("config/users"), if known { USERS } else { "" })
}

/// Changes the role at a node, which notices within two seconds.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn set_role(node: &Path, role: Role) -> Result<()> {
    put(&node.join("config/roles.yml"), &role.text())
}

/// In one step, since the node may look at any moment.
fn put(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(failed)?;
    fs::rename(&new, path).with_context(failed)
}
