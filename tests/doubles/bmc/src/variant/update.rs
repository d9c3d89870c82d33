//! How a kind of BMC takes images.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct UpdateRules {
    /// `MultipartHttpPushUri`: the whole path.
    #[serde(default)]
    pub(crate) multipart: Option<String>,
    #[serde(default)]
    pub(crate) push: Option<PushRules>,
    #[serde(default)]
    pub(crate) simple: Option<SimpleRules>,
    /// An action of the vendor's that takes a whole bundle.
    #[serde(default)]
    pub(crate) bundle: Option<BundleRules>,
    #[serde(default)]
    pub(crate) apply_times: Vec<String>,
    /// What is meant if a request names no time.
    pub(crate) default_apply: String,
    /// `Targets` in a request: taken as they are, at most one, or not at all.
    pub(crate) targets: Targets,
    /// The host is reset by the BMC when an update for `Immediate` needs it.
    #[serde(default)]
    pub(crate) resets_host: bool,
    /// What happens to an update that the host must start for.
    #[serde(default)]
    pub(crate) host_style: HostStyle,
    /// An update of the BMC for `OnReset` waits for somebody to reset the BMC.
    #[serde(default)]
    pub(crate) bmc_waits: bool,
    /// Images that do not fit are refused in the answer; otherwise the task fails.
    #[serde(default)]
    pub(crate) refuses_at_once: bool,
    /// A second update waits behind the first instead of being refused.
    #[serde(default)]
    pub(crate) queues: bool,
    pub(crate) max_bytes: u64,
    /// Status of the answer to a push or pull that is accepted.
    pub(crate) accepted: u16,
    /// A push needs `Content-Length`.
    #[serde(default)]
    pub(crate) needs_length: bool,
}

/// What happens to an update that the host must start for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostStyle {
    /// It is written and called done; the version shows after the reset.
    #[default]
    DonePending,
    /// It is written, and its task waits for the reset.
    Staged,
    /// It is written while the host starts.
    Scheduled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Targets {
    Any,
    One,
    None,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PushRules {
    /// The whole path.
    pub(crate) uri: String,
    pub(crate) body: PushBody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PushBody {
    /// The image itself.
    Raw,
    /// The form of HPE: `sessionKey`, `parameters`, `compsig`, file.
    HpeForm,
    /// Dell keeps it as an `Available` entry until `SimpleUpdate` names that entry.
    DellStage,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SimpleRules {
    pub(crate) schemes: Vec<String>,
    /// File name endings, lower case; empty: any.
    #[serde(default)]
    pub(crate) endings: Vec<String>,
    pub(crate) verify: Verify,
    /// Clients bring certificates of servers, as many as this.
    #[serde(default)]
    pub(crate) certificates: Option<usize>,
}

/// Whether the server that an image is fetched from must have a trusted certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verify {
    Never,
    Always,
    /// `VerifyRemoteServerCertificate` says it, which a client may change.
    Settable,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BundleRules {
    /// Name in `Actions`, for example `#SDFlexUpdateService.UpdateAll`.
    pub(crate) action: String,
    /// Below `UpdateService/Actions/`.
    pub(crate) uri: String,
    pub(crate) schemes: Vec<String>,
    pub(crate) verify: Verify,
}
