//! Requests that hand an image over, install it, or take it back.

use super::super::inventory::Reset;
use super::super::{Answer as Reply, Link, Request, Trouble as Refused};
use super::body::{file, object};
use super::refused::{Answered, refused};
use super::repository::RepositoryUpload;
use super::routes::{ON_RESET, Route};
use super::{Device, preparations, signed_out, trouble};
use crate::attempt::logbook::Intended;
use crate::attempt::{Offer, Scheme};
use crate::drivers::device::{Image, Trouble};
use crate::drivers::https::{Field, FileContent};
use crate::failure::Failure;
use farrier_update::device::{Action, Answer, Ending, Intent, Part, Ticket, Verb};
use farrier_update::{Reason, plan};
use serde_json::{Value, json};

/// The parameter that says when an image is applied (DSP0266).
const APPLY_TIME: &str = "@Redfish.OperationApplyTime";

impl Device {
    /// Sends the request of an action that is work, or takes work back.
    pub(super) async fn work(
        &self,
        permission: &Intended,
        intent: &Intent,
        actions: &[Action],
        image: Option<&Image>,
    ) -> Answered {
        let Some(session) = &self.session else { return (Answer::NotBegun, Some(signed_out())) };
        if intent.verb.is_adoption() {
            return self.adopt(session, intent).await;
        }
        let request = match self.request_of(intent, actions, image) {
            Ok(Work::Request(made)) => made,
            Ok(Work::Upload(upload)) => return self.upload(session, permission, &upload).await,
            Err(failure) => return (Answer::Rejected, Some(Trouble { is_answer: true, ..trouble(failure) })),
        };
        let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
        match session.send(&Request { begin_within: Some(left), ..*request }).await {
            Ok(reply) => (self.begun(&reply, intent.verb), None),
            Err(error) if is_gone(&error) && intent.verb.is_inverse() => (Answer::Done, None),
            Err(error) => refused(error),
        }
    }

    /// Returns what is sent for an action.
    fn request_of(
        &self,
        intent: &Intent,
        actions: &[Action],
        image: Option<&Image>,
    ) -> Result<Work, Failure> {
        let post = |link: &Link, body: Value| Ok(Work::from(Request::post(link.clone(), body)));
        let unable = |what: &str| {
            Failure::new(
                Reason::InternalError,
                format!("{what} for {:?} of {}", intent.verb, intent.component),
            )
        };
        match intent.verb {
            Verb::Upload | Verb::Pull => {
                let image = image.ok_or_else(|| unable("there is no image"))?;
                let route = self.route()?;
                self.hand_over(&route, intent, image)
            }
            Verb::Enqueue => {
                let route = self.route()?;
                let (Route::Repository { queue, .. } | Route::AddFromUri { queue, .. }) = route else {
                    return Err(unable("the device has no queue"));
                };
                let file =
                    self.staged(&intent.component, actions).ok_or_else(|| unable("no image is staged"))?;
                post(
                    &queue,
                    object([
                        ("Name", Some(json!(self.marks.name(intent.id, &intent.component)))),
                        ("Command", Some(json!("ApplyUpdate"))),
                        ("UpdatableBy", self.agents.get(&file).map(|agents| json!(agents))),
                        ("Filename", Some(json!(file))),
                        ("TPMOverride", self.order.overrides_trusted_module.then_some(json!(true))),
                    ]),
                )
            }
            Verb::ImportAuthority | Verb::Subscribe => Ok(Work::from(self.preparation(intent)?)),
            Verb::RemoveUpload | Verb::RemoveQueueEntry | Verb::RemoveAuthority | Verb::Unsubscribe => {
                let of = intent.of.and_then(|of| self.links.get(&of));
                let link = of.ok_or_else(|| unable("nothing is there"))?;
                Ok(Work::from(Request::delete(link.clone())))
            }
            Verb::ResetManager | Verb::ResetHost => {
                let (reset, types) = if intent.verb == Verb::ResetHost {
                    (&self.host_reset, &["GracefulRestart"][..])
                } else {
                    (&self.manager_reset, &["GracefulRestart", "ForceRestart"][..])
                };
                let (link, chosen) = self.reset(reset.as_ref(), types)?;
                post(&link, json!({"ResetType": chosen}))
            }
            Verb::Activate
            | Verb::AdoptImage
            | Verb::AdoptWork
            | Verb::SignIn
            | Verb::SignOut
            | Verb::Unknown => Err(unable("there is no request")),
        }
    }

    /// Returns the request that hands an image over.
    fn hand_over(&self, route: &Route, intent: &Intent, image: &Image) -> Result<Work, Failure> {
        let most = self.update.as_ref().and_then(|service| service.max_bytes);
        if let Some(most) = most.filter(|most| image.size > *most) {
            return Err(Failure::new(
                Reason::DeviceFull,
                format!(
                    "the image of {} has {} bytes, and {} takes at most {most}; use another image",
                    intent.component, image.size, self.node
                ),
            ));
        }
        Ok(match route {
            Route::Multipart { upload, times } => {
                let parameters =
                    object([(APPLY_TIME, self.apply_time(&intent.component, times))]).to_string();
                let parameters = Field {
                    name: "UpdateParameters",
                    file: None,
                    media_type: Some("application/json"),
                    value: parameters.as_bytes(),
                };
                let image = file("UpdateFile", image, 0..image.size);
                let form = FileContent::form(&self.boundary(intent), &[parameters], image);
                Work::from(Request::upload(upload.clone(), form))
            }
            Route::Push(link) => {
                Work::from(Request::upload(link.clone(), FileContent::plain(&image.path, image.size)))
            }
            Route::Repository { upload, .. } => Work::Upload(Box::new(RepositoryUpload {
                link: upload.clone(),
                mark: self.marks.name(intent.id, "upload"),
                boundary: self.boundary(intent),
                overrides_trusted_module: self.order.overrides_trusted_module,
                image: image.clone(),
            })),
            Route::AddFromUri { action, .. } => self.add_from_uri(action, intent, image)?,
            Route::Simple { action, times } => {
                let offer = offer(image)?;
                let body = object([
                    ("ImageURI", Some(json!(offer.url))),
                    ("TransferProtocol", Some(json!(protocol(offer.scheme)))),
                    ("Username", offer.login.as_ref().map(|login| json!(login.user))),
                    ("Password", offer.login.as_ref().map(|login| json!(login.password))),
                    (APPLY_TIME, self.apply_time(&intent.component, times)),
                ]);
                Work::from(Request::post(action.clone(), body))
            }
            Route::Bundle(action) => {
                Work::from(Request::post(action.clone(), json!({"ImageURI": offer(image)?.url})))
            }
        })
    }

    /// Returns the request by which an iLO fetches an image into its repository.
    fn add_from_uri(&self, action: &Link, intent: &Intent, image: &Image) -> Result<Work, Failure> {
        if !image.signatures.is_empty() {
            return Err(Failure::new(
                Reason::NotYetSupported,
                format!(
                    "{} only fetches images (AddFromUri), which is not done for images with signatures yet; upload the image of {} by hand",
                    self.node, intent.component
                ),
            ));
        }
        let body = object([
            ("ImageURI", Some(json!(offer(image)?.url_with_login()))),
            ("UpdateRepository", Some(json!(true))),
            ("UpdateTarget", Some(json!(false))),
            ("TPMOverrideFlag", self.order.overrides_trusted_module.then_some(json!(true))),
        ]);
        Ok(Work::from(Request::post(action.clone(), body)))
    }

    /// Returns a line that the image does not contain: it carries the image's own digest.
    fn boundary(&self, intent: &Intent) -> String {
        let component = self.components.iter().find(|component| component.name == intent.component);
        let digest = component.and_then(|component| component.digest()).unwrap_or_default();
        let digest: String = digest.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        format!("farrier-{digest}-{}", intent.id.0)
    }

    /// Returns when an image is to be applied. The firmware of the host waits for a reset, since some devices restart
    /// the host at once otherwise.
    fn apply_time(&self, component: &str, times: &[String]) -> Option<Value> {
        let wanted = match self.part_of(component) {
            Part::Manager => "Immediate",
            Part::Host => ON_RESET,
        };
        times.iter().any(|time| time == wanted).then(|| json!(wanted))
    }

    /// Returns the name of the image that is staged for a component.
    fn staged(&self, component: &str, actions: &[Action]) -> Option<String> {
        let stages = |action: &&Action| {
            action.component == component && action.verb.is_staging() && action.ending == Some(Ending::Done)
        };
        let action = actions.iter().rfind(stages)?;
        if action.verb == Verb::AdoptImage {
            return self.files.get(component).cloned();
        }
        let payload = self.components.iter().find(|known| known.name == component)?.payload.as_ref()?;
        Some(self.marks.image_name(action.id, &payload.digest, &plan::file_name(&payload.url)))
    }

    /// Returns the action and the type of a reset, the first of these types that the device knows.
    fn reset(&self, reset: Option<&Reset>, types: &[&'static str]) -> Result<(Link, &'static str), Failure> {
        let unable = || {
            let words =
                format!("{} offers no {} over Redfish; reset it by hand", self.node, types.join(" or "));
            Failure::new(Reason::DeviceRefused, words)
        };
        let reset = reset.ok_or_else(unable)?;
        let knows = |wanted: &&&str| {
            reset.types.as_ref().is_none_or(|known| known.iter().any(|known| known == *wanted))
        };
        let chosen = types.iter().find(knows).ok_or_else(unable)?;
        Ok((reset.target.clone(), *chosen))
    }

    /// Returns what an answer that is no error means.
    fn begun(&self, reply: &Reply, verb: Verb) -> Answer {
        if verb.is_inverse() || verb.is_reset() {
            return Answer::Done;
        }
        if verb.is_preparation() {
            return preparations::begun(reply);
        }
        let resource = reply.resource().unwrap_or_default();
        let own = resource.text("/TaskState").and_then(|_| resource.link("/@odata.id").ok().flatten());
        let service = self.update.as_ref().filter(|service| service.has_state && verb != Verb::Enqueue);
        let link = own
            .or_else(|| reply.location().ok().flatten())
            .or_else(|| service.map(|service| service.link.clone()));
        match link {
            Some(link) => Answer::Began(Ticket(link.as_str().to_owned())),
            None => Answer::Done,
        }
    }
}

/// What is sent for an action.
enum Work {
    Request(Box<Request>),
    Upload(Box<RepositoryUpload>),
}

impl From<Request> for Work {
    fn from(request: Request) -> Self {
        Self::Request(Box::new(request))
    }
}

fn offer(image: &Image) -> Result<&Offer, Failure> {
    let missing = || Failure::new(Reason::InternalError, format!("the image {} is not offered", image.name));
    image.offer.as_ref().ok_or_else(missing)
}

const fn protocol(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Https => "HTTPS",
        Scheme::Http => "HTTP",
        Scheme::Sftp => "SFTP",
        Scheme::Scp => "SCP",
        Scheme::Ftp => "FTP",
    }
}

fn is_gone(error: &Refused) -> bool {
    matches!(error.status(), Some(404 | 410))
}
