//! How a device takes the image of a component: the best way that it offers.

use super::super::Link;
use super::super::inventory::{Repository, UpdateService};
use super::Device;
use crate::attempt::Scheme;
use crate::drivers::HandOver;
use crate::drivers::device::Way;
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::{Method, Part, Scope};

/// The apply time that waits for a reset (DSP0266).
pub(super) const ON_RESET: &str = "OnReset";

/// How an image gets to a device. A push is preferred, because it needs no way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A form with parameters (`MultipartHttpPushUri`).
    Multipart {
        /// Where the form is sent.
        upload: Link,
        /// When an image may be applied, if the device tells.
        times: Vec<String>,
    },
    /// The image by itself (`HttpPushUri`).
    Push(Link),
    /// A form of HPE's, into the repository, from which the queue installs it.
    Repository {
        /// Where the form is sent.
        upload: Link,
        /// The queue.
        queue: Link,
    },
    /// The device fetches it into its repository, from which the queue installs it.
    AddFromUri {
        /// The action.
        action: Link,
        /// The queue.
        queue: Link,
    },
    /// The device fetches and installs it (`SimpleUpdate`).
    Simple {
        /// The action.
        action: Link,
        /// When an image may be applied, if the device tells.
        times: Vec<String>,
    },
    /// The device fetches and installs a bundle for all of its parts.
    Bundle(Link),
}

impl Route {
    /// Chooses the way of a device: the best that it offers, or the best of those that the user wants.
    ///
    /// # Errors
    /// `UpdateServiceMissing`, `UpdateServiceDisabled`, `NotYetSupported`.
    fn choose(
        node: &str,
        service: Option<&UpdateService>,
        wanted: Option<HandOver>,
    ) -> Result<Self, Failure> {
        let missing = || {
            let words = format!(
                "{node} offers no way to take an image over Redfish; update it by hand, or update its management processor first"
            );
            Failure::new(Reason::UpdateServiceMissing, words)
        };
        let service = service.ok_or_else(missing)?;
        if service.enabled == Some(false) {
            let words = format!(
                "the update service of {node} ({}) is disabled; enable it on the device",
                service.link
            );
            return Err(Failure::new(Reason::UpdateServiceDisabled, words));
        }
        let all = Self::all(service);
        let is_wanted = |route: &&Self| wanted.is_none_or(|wanted| route.hand_over() == wanted);
        match (all.iter().find(is_wanted), wanted) {
            (Some(route), _) => Ok(route.clone()),
            (None, Some(wanted)) if !all.is_empty() => Err(wanted.missing(node)),
            (None, Some(_) | None) => Err(missing()),
        }
    }

    /// Returns the ways that a device offers, the best first.
    fn all(service: &UpdateService) -> Vec<Self> {
        let ways = &service.ways;
        let times = || ways.simple.as_ref().and_then(|simple| simple.apply_times.clone());
        let mut all = Vec::new();
        if let Some(upload) = ways.multipart.clone() {
            let times = ways.apply_times.clone().or_else(times).unwrap_or_default();
            all.push(Self::Multipart { upload, times });
        }
        if let Some(Repository { queue: Some(queue), add_from_uri, .. }) = &ways.repository {
            let (upload, action) = (ways.push.clone(), add_from_uri.clone());
            all.extend(upload.map(|upload| Self::Repository { upload, queue: queue.clone() }));
            all.extend(action.map(|action| Self::AddFromUri { action, queue: queue.clone() }));
        }
        // Some old iDRACs take an image at their inventory, where it only waits for another request.
        let is_staging =
            |push: &Link| service.firmware.as_ref().is_some_and(|firmware| firmware.is_same(push));
        let push = ways.push.clone().filter(|push| !is_staging(push));
        all.extend(push.map(Self::Push));
        let simple = ways.simple.as_ref().map(|simple| simple.target.clone());
        all.extend(simple.map(|action| Self::Simple { action, times: times().unwrap_or_default() }));
        all.extend(ways.bundle.as_ref().map(|bundle| Self::Bundle(bundle.target.clone())));
        all
    }

    /// Returns who moves the image.
    const fn hand_over(&self) -> HandOver {
        match self {
            Self::Multipart { .. } | Self::Push(_) | Self::Repository { .. } => HandOver::Push,
            Self::AddFromUri { .. } | Self::Simple { .. } | Self::Bundle(_) => HandOver::Pull,
        }
    }

    /// Reports whether the device can be told to keep an image until the next reset.
    fn holds(&self) -> bool {
        match self {
            Self::Multipart { times, .. } | Self::Simple { times, .. } => {
                times.iter().any(|time| time == ON_RESET)
            }
            Self::Push(_) | Self::Repository { .. } | Self::AddFromUri { .. } | Self::Bundle(_) => false,
        }
    }

    /// Returns what is requested, and in which order.
    pub(super) const fn method(&self) -> Method {
        match self {
            Self::Multipart { .. } | Self::Push(_) => Method::Push,
            Self::Repository { .. } => Method::PushThenEnqueue,
            Self::AddFromUri { .. } => Method::PullThenEnqueue,
            Self::Simple { .. } | Self::Bundle(_) => Method::Pull,
        }
    }
}

impl Device {
    /// Returns the way of the device, as it was last read.
    ///
    /// # Errors
    /// As [`Route::choose`].
    pub(super) fn route(&self) -> Result<Route, Failure> {
        Route::choose(&self.node, self.update.as_ref(), self.settings.hand_over)
    }

    /// Returns how the image of a component is handed over.
    ///
    /// # Errors
    /// `RestartNotAllowed`, `NotYetSupported`.
    pub(super) fn way(&self, component: &str, route: &Route) -> Result<Way, Failure> {
        let holds = self.part_of(component) == Part::Host && route.holds();
        let can_stage = holds || matches!(route, Route::Repository { .. } | Route::AddFromUri { .. });
        if self.order.scope == Scope::Stage && !can_stage {
            return Err(self.cannot_stage(component));
        }
        if self.order.scope == Scope::Install
            && self.is_restart_possible(component, route)
            && !self.order.resets_host
        {
            return Err(Failure::new(
                Reason::RestartNotAllowed,
                format!(
                    "{} takes the image of {component} without a time for it (OnReset) and may restart its host at once, which reboot.policy Never forbids; nothing was sent. Set reboot.policy to IfRequired in a window in which the host may restart",
                    self.node
                ),
            ));
        }
        Ok(Way { method: route.method(), holds })
    }

    fn cannot_stage(&self, component: &str) -> Failure {
        let why = match self.part_of(component) {
            Part::Manager => {
                "it has no repository, and firmware of the management processor itself is applied at once by some devices, whatever they are asked"
            }
            Part::Host => "it has neither a repository nor the apply time OnReset",
        };
        Failure::new(
            Reason::NotYetSupported,
            format!(
                "{} cannot hold the image of {component} without installing it: {why}. Leave the component out of runs with operation Stage, and install it with operation Update",
                self.node
            ),
        )
    }

    /// Reports whether a device may restart its host by itself when it gets the image: one of the host, that nobody
    /// can tell it to keep until the next restart. HPE's queue never restarts a host.
    fn is_restart_possible(&self, component: &str, route: &Route) -> bool {
        let is_queued = matches!(route, Route::Repository { .. } | Route::AddFromUri { .. });
        self.part_of(component) == Part::Host && !is_queued && !route.holds()
    }
}

/// Returns the protocols by which a device fetches images, the best first.
pub(super) fn schemes(service: Option<&UpdateService>) -> Vec<Scheme> {
    let Some(ways) = service.map(|service| &service.ways) else { return Vec::new() };
    if ways.simple.is_none() && ways.bundle.is_some() {
        // The controller of a Superdome Flex takes nothing else.
        return vec![Scheme::Https];
    }
    let protocols = ways.simple.as_ref().and_then(|simple| simple.protocols.as_ref());
    let Some(protocols) = protocols else { return vec![Scheme::Https, Scheme::Http] };
    known(protocols)
}

/// Returns the protocols of a list of `SimpleUpdate`, the best first; others, such as `TFTP`, are left out.
fn known(protocols: &[String]) -> Vec<Scheme> {
    let is_listed = |scheme: &Scheme| {
        let name = scheme.to_string();
        protocols.iter().any(|protocol| protocol.eq_ignore_ascii_case(&name))
    };
    Scheme::ALL.into_iter().filter(is_listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a device would fetch in the clear although it can do better, or not at all.
    #[test]
    fn the_best_protocol_of_a_device_comes_first() {
        let of = |words: &[&str]| known(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["TFTP", "FTP", "SCP", "HTTP", "SFTP", "HTTPS"]), Scheme::ALL);
        assert_eq!(of(&["TFTP", "FTP", "scp"]), [Scheme::Scp, Scheme::Ftp]);
        assert_eq!(of(&["NFS", "CIFS"]), []);
    }
}
