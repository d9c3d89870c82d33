//! How the program was called, and on what it prints.

use std::io::IsTerminal as _;
use std::path::Path;

/// File name under which kubectl finds the program as `kubectl farrier`.
const PLUGIN: &str = "kubectl-farrier";

/// Returns the name of the program as the user types it.
pub fn name() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let stem = Path::new(&called).file_stem().unwrap_or_default();
    if stem == PLUGIN { "kubectl farrier".to_owned() } else { "farrier".to_owned() }
}

/// Reports whether standard output shows colours: a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(super) fn has_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}
