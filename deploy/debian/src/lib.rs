//! No code: the manifest beside this file says what the Debian package `logflow` holds.
