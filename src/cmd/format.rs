//! The output formats of the commands that show objects.

/// Output format, as of `kubectl get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Wide,
    Json,
    Yaml,
    Name,
}
