//! Finds the cluster as kubectl does.

use crate::failure::chain;
use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// Timeout for connecting to the API server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may be silent while a response is expected. Without this timeout, a peer that
/// vanished without closing the connection, as when the API server's host fails behind a load balancer,
/// would be awaited for as long as the kernel retransmits: a quarter of an hour. Watches end by
/// themselves before this timeout ([`crate::caches::WATCH_LIMIT`]).
const SILENCE_LIMIT: Duration = Duration::from_mins(1);

/// Options that select the cluster.
#[derive(Debug, clap::Args)]
#[group(id = "cluster")]
pub struct Options {
    /// Kubeconfig file. Default: KUBECONFIG, the usual file, or the cluster that this runs in.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig file.
    #[arg(long)]
    context: Option<String>,
}

impl Options {
    /// Returns the configuration of the client.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be used.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("failed to read the kubeconfig {}; correct --kubeconfig", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await.context("failed to use the kubeconfig")?
            }
            None if self.context.is_some() => {
                Config::from_kubeconfig(&options).await.context("failed to use the kubeconfig; set KUBECONFIG")?
            }
            None => Config::infer().await.context(
                "failed to find a cluster; set KUBECONFIG or --kubeconfig, or run inside a cluster with a service account",
            )?,
        };
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(SILENCE_LIMIT);
        // The time that a connection was idle in the pool does not count.
        config.reset_reader_on_write = true;
        Ok(config)
    }

    /// Connects to the cluster. Without a namespace it is the one of the context.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be used.
    pub(super) async fn connect(&self, namespace: Option<&str>) -> anyhow::Result<Connection> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string();
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).context("failed to set up the connection to the cluster")?;
        Ok(Connection { client, namespace, server })
    }
}

/// Where a command looks: cluster and namespace, by the flags of kubectl.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// Namespace. Default: the one of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    cluster: Options,
}

impl Scope {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be used.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        self.cluster.connect(self.namespace.as_deref()).await
    }

    /// Returns the flags that another command needs to look at the same place.
    pub(super) fn flags(&self, namespace: &str) -> String {
        let Options { kubeconfig, context } = &self.cluster;
        let kubeconfig = kubeconfig.as_ref().map(|path| ("--kubeconfig", path.display().to_string()));
        let context = context.clone().map(|context| ("--context", context));
        let given = [Some(("-n", namespace.to_owned())), context, kubeconfig];
        let words: Vec<String> =
            given.into_iter().flatten().map(|(flag, value)| format!("{flag} {}", quoted(&value))).collect();
        words.join(" ")
    }
}

/// Returns a word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A connection to the API server, for objects of one namespace.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// URL of the API server, for messages.
    pub(super) server: String,
}

/// Returns the error of a question that the API server has not answered, without the client's decoration.
pub(super) fn unanswered(error: kube::Error, server: &str) -> anyhow::Error {
    let words = if let kube::Error::Api(status) = error { status.message } else { chain(&error) };
    anyhow::Error::msg(words).context(format!("failed to ask the cluster at {server}"))
}

/// Says that an object does not exist, and how to see which do.
pub(super) fn missing(kind: &str, name: &str, namespace: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    format!("there is no {kind} {name} in the namespace {namespace}; see kubectl get {plural} -n {namespace}")
}
