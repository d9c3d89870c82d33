//! Requests that hand an image over, install it, or take it back.

use super::super::content::{Field, FileContent, FormFile};
use super::super::inventory::Reset;
use super::super::words::{Meaning, report};
use super::super::{Answer as Reply, Link, Request, Session, Trouble as Refused};
use super::routes::Route;
use super::{Device, signed_out, trouble};
use crate::attempt::Scheme;
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Image, Trouble};
use crate::failure::Failure;
use farrier_update::device::{Action, Answer, Ending, Intent, Part, Progress, Ticket, Verb};
use farrier_update::{Reason, plan};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// What became of a request.
type Answered = (Answer, Option<Trouble>);

/// Largest part of an image that the upload of an iLO takes at once (ilorest, `UploadComponentCommand.py`).
const SECTION: u64 = 32 * 1024 * 1024;

/// How long an iLO may take to verify an image, and to write it into its repository.
const VERIFYING: Duration = Duration::from_mins(10);

/// Time between two questions about that.
const POLL: Duration = Duration::from_secs(1);

/// The cookie that the upload of an iLO wants.
const COOKIE: &str = "sessionKey";

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
        let request = match self.request_of(intent, actions, image) {
            Ok(Work::Request(request)) => request,
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
        let post = |link: &Link, body: Value| Ok(Work::Request(Box::new(Request::post(link.clone(), body))));
        let unable = |what: &str| {
            Failure::new(
                Reason::InternalError,
                format!("{what} for {:?} of {}", intent.verb, intent.component),
            )
        };
        match intent.verb {
            Verb::Upload | Verb::Pull => {
                let image = image.ok_or_else(|| unable("there is no image"))?;
                let route = Route::choose(&self.node, self.update.as_ref())?;
                self.hand_over(&route, intent, image)
            }
            Verb::Enqueue => {
                let route = Route::choose(&self.node, self.update.as_ref())?;
                let (Route::Repository { queue, .. } | Route::AddFromUri { queue, .. }) = route else {
                    return Err(unable("the device has no queue"));
                };
                let file =
                    self.staged(&intent.component, actions).ok_or_else(|| unable("no image is staged"))?;
                let mut entry = json!({
                    "Name": self.marks.name(intent.id, &intent.component), "Command": "ApplyUpdate", "Filename": file,
                });
                if let Some(agents) = self.agents.get(&file) {
                    entry["UpdatableBy"] = json!(agents);
                }
                post(&queue, entry)
            }
            Verb::RemoveUpload | Verb::RemoveQueueEntry => {
                let of = intent.of.and_then(|of| self.links.get(&of));
                let link = of.ok_or_else(|| unable("nothing is there"))?;
                Ok(Work::Request(Box::new(Request::delete(link.clone()))))
            }
            Verb::ResetManager | Verb::ResetHost => {
                let (reset, types) = if intent.verb == Verb::ResetHost {
                    (&self.host_reset, &["GracefulRestart"][..])
                } else {
                    (&self.manager_reset, &["GracefulRestart", "ForceRestart"][..])
                };
                let (link, type_) = self.reset(reset.as_ref(), types)?;
                post(&link, json!({"ResetType": type_}))
            }
            Verb::Activate | Verb::SignIn | Verb::SignOut | Verb::Unknown => {
                Err(unable("there is no request"))
            }
        }
    }

    /// Returns the request that hands an image over.
    fn hand_over(&self, route: &Route, intent: &Intent, image: &Image) -> Result<Work, Failure> {
        let service = self.update.as_ref();
        if let Some(most) = service.and_then(|service| service.max_bytes).filter(|most| image.size > *most) {
            return Err(Failure::new(
                Reason::DeviceFull,
                format!(
                    "the image of {} has {} bytes, and {} takes at most {most}; use another image",
                    intent.component, image.size, self.node
                ),
            ));
        }
        let offer = || {
            image.offer.as_ref().ok_or_else(|| {
                Failure::new(
                    Reason::InternalError,
                    format!("the image of {} is not offered", intent.component),
                )
            })
        };
        let apply = |times: Option<&Vec<String>>| self.apply_time(&intent.component, times);
        let ways = service.map(|service| &service.ways);
        Ok(match route {
            Route::Multipart(link) => {
                let simple = ways.and_then(|ways| ways.simple.as_ref());
                let times = ways.and_then(|ways| ways.apply_times.as_ref());
                let times = times.or_else(|| simple.and_then(|simple| simple.apply_times.as_ref()));
                let parameters = with_apply_time(json!({}), apply(times)).to_string();
                let parameters = Field {
                    name: "UpdateParameters",
                    media_type: Some("application/json"),
                    value: parameters.as_bytes(),
                };
                let form = FileContent::form(
                    &self.boundary(intent),
                    &[parameters],
                    file("UpdateFile", image, 0..image.size),
                );
                Work::Request(Box::new(Request::upload(link.clone(), form)))
            }
            Route::Push(link) => Work::Request(Box::new(Request::upload(
                link.clone(),
                FileContent::plain(&image.path, image.size),
            ))),
            Route::Repository { upload, .. } => Work::Upload(RepositoryUpload {
                link: upload.clone(),
                mark: self.marks.name(intent.id, "upload"),
                boundary: self.boundary(intent),
                image: image.clone(),
            }),
            Route::AddFromUri { action, .. } => {
                let body = json!({"ImageURI": offer()?.url, "UpdateRepository": true, "UpdateTarget": false});
                Work::Request(Box::new(Request::post(action.clone(), body)))
            }
            Route::Simple(action) => {
                let offer = offer()?;
                let protocol = match offer.scheme {
                    Scheme::Https => "HTTPS",
                    Scheme::Http => "HTTP",
                };
                let times = ways.and_then(|ways| ways.simple.as_ref()?.apply_times.as_ref());
                let body = json!({"ImageURI": offer.url, "TransferProtocol": protocol});
                Work::Request(Box::new(Request::post(action.clone(), with_apply_time(body, apply(times)))))
            }
            Route::Bundle(action) => {
                Work::Request(Box::new(Request::post(action.clone(), json!({"ImageURI": offer()?.url}))))
            }
        })
    }

    /// Returns a line that the image does not contain: it carries the image's own digest.
    fn boundary(&self, intent: &Intent) -> String {
        let component = self.components.iter().find(|component| component.name == intent.component);
        let digest = component.map(|component| component.payload.digest.as_str()).unwrap_or_default();
        let digest: String = digest.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        format!("farrier-{digest}-{}", intent.id.0)
    }

    /// Returns when an image is to be applied. The firmware of the host waits for a reset, since some devices restart
    /// the host at once otherwise.
    fn apply_time(&self, component: &str, times: Option<&Vec<String>>) -> Option<&'static str> {
        let wanted = match self.part_of(component) {
            Part::Manager => "Immediate",
            Part::Host => "OnReset",
        };
        times?.iter().any(|time| time == wanted).then_some(wanted)
    }

    /// Returns the name of the image that is staged for a component.
    fn staged(&self, component: &str, actions: &[Action]) -> Option<String> {
        let stages = |action: &&Action| {
            action.component == component
                && matches!(action.verb, Verb::Upload | Verb::Pull)
                && action.ending == Some(Ending::Done)
        };
        let action = actions.iter().rfind(stages)?;
        let url = &self.components.iter().find(|known| known.name == component)?.payload.url;
        Some(self.marks.name(action.id, &plan::file_name(url)))
    }

    /// Returns the action and the type of a reset, the first of these types that the device knows.
    fn reset(&self, reset: Option<&Reset>, types: &[&'static str]) -> Result<(Link, &'static str), Failure> {
        let unable = || {
            let words =
                format!("{} offers no {} over Redfish; reset it by hand", self.node, types.join(" or "));
            Failure::new(Reason::DeviceRefused, words)
        };
        let reset = reset.ok_or_else(unable)?;
        let knows = |type_: &&&str| {
            reset.types.as_ref().is_none_or(|known| known.iter().any(|known| known == *type_))
        };
        let type_ = types.iter().find(knows).ok_or_else(unable)?;
        Ok((reset.target.clone(), *type_))
    }

    /// Returns what an answer that is no error means.
    fn begun(&self, reply: &Reply, verb: Verb) -> Answer {
        if verb.is_inverse() || verb.is_reset() {
            return Answer::Done;
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

    /// Uploads an image into the repository, in sections, and waits until it is verified.
    async fn upload(&self, session: &Session, permission: &Intended, upload: &RepositoryUpload) -> Answered {
        let size = upload.image.size;
        let mut from: u64 = 0;
        let mut number = 0;
        loop {
            let to = from.saturating_add(SECTION).min(size);
            let form = upload.form(session, from..to, number, size);
            let mut request = Request { cookie: Some(COOKIE), ..Request::upload(upload.link.clone(), form) };
            if number == 0 {
                let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
                request.begin_within = Some(left);
            }
            if let Err(error) = session.send(&request).await {
                let (answer, trouble) = refused(error);
                // Sections before this one are there.
                let is_begun = number > 0 && answer == Answer::NotBegun;
                return (if is_begun { Answer::Unknown } else { answer }, trouble);
            }
            (from, number) = (to, number + 1);
            if from >= size {
                return self.verified(session).await;
            }
        }
    }

    /// Waits until the device has verified what it was sent.
    async fn verified(&self, session: &Session) -> Answered {
        let Some(service) = self.update.as_ref().filter(|service| service.has_state) else {
            return (Answer::Done, None);
        };
        let until = Instant::now() + VERIFYING;
        loop {
            let report = match session.get(&service.link).await {
                Ok(resource) => report(&resource),
                Err(error) => return (Answer::Unknown, Some(trouble(error.into()))),
            };
            match report.progress {
                Progress::Done | Progress::Gone => return (Answer::Done, None),
                Progress::Failed => {
                    let reason = report.reason.unwrap_or(Reason::DeviceRefused);
                    let words = format!("{} did not take the image: {}", self.node, report.words);
                    let trouble = Trouble { is_answer: true, ..trouble(Failure::new(reason, words)) };
                    return (Answer::Rejected, Some(trouble));
                }
                Progress::Queued | Progress::Running | Progress::WaitsForReset => {}
            }
            if Instant::now() >= until {
                return (Answer::Unknown, None);
            }
            // sleep: the device does not report when it is ready.
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What is sent for an action.
enum Work {
    Request(Box<Request>),
    Upload(RepositoryUpload),
}

/// An image for the repository of an iLO.
struct RepositoryUpload {
    link: Link,
    /// Identifies the upload, for the device.
    mark: String,
    boundary: String,
    image: Image,
}

impl RepositoryUpload {
    fn form(&self, session: &Session, section: std::ops::Range<u64>, number: u32, size: u64) -> FileContent {
        let mut parameters = json!({
            "UpdateRepository": true, "UpdateTarget": false, "UpdateRecoverySet": false, "ETag": self.mark,
        });
        if size > SECTION {
            parameters["Section"] = json!(number);
        }
        let parameters = parameters.to_string();
        let token = session.token().unwrap_or_default();
        let field = |name, value| Field { name, media_type: None, value };
        let mut fields = Vec::new();
        if !token.is_empty() {
            fields.push(field("sessionKey", token.as_bytes()));
        }
        fields.push(field("parameters", parameters.as_bytes()));
        FileContent::form(&self.boundary, &fields, file("file", &self.image, section))
    }
}

fn file<'a>(field: &'a str, image: &'a Image, section: std::ops::Range<u64>) -> FormFile<'a> {
    FormFile { field, name: &image.name, path: &image.path, section }
}

fn with_apply_time(mut body: Value, time: Option<&str>) -> Value {
    if let Some(time) = time {
        body["@Redfish.OperationApplyTime"] = json!(time);
    }
    body
}

fn is_gone(error: &Refused) -> bool {
    matches!(error.status(), Some(404 | 410))
}

/// Returns what an error means for the action.
fn refused(error: Refused) -> Answered {
    let status = error.status();
    let meaning = error.refusal().and_then(super::super::Refusal::meaning);
    let answer = match (meaning, status) {
        (Some(Meaning::AlreadyInstalled), _) => Answer::AlreadyInstalled,
        // It says so itself; a server in front of it would not.
        (Some(Meaning::Busy | Meaning::InUse), Some(_)) => Answer::NotBegun,
        (Some(meaning), Some(_)) if meaning.reason().is_some() => Answer::Rejected,
        // Not carried out, and may be later: no session, unknown while it starts, or in use.
        (_, Some(401 | 404 | 408 | 409 | 423 | 425 | 429)) => Answer::NotBegun,
        (_, Some(400..=499 | 507)) => Answer::Rejected,
        _ if error.may_have_begun() => Answer::Unknown,
        _ => Answer::NotBegun,
    };
    let is_answer = status.is_some_and(|status| status != 401) && answer != Answer::Unknown;
    let reason = meaning.and_then(Meaning::reason);
    let next = meaning.and_then(Meaning::next_step);
    let failure = Failure::from(error);
    let failure = match (reason, next) {
        (Some(reason), Some(next)) => Failure::new(reason, format!("{}; {next}", failure.message)),
        (Some(reason), None) => Failure::new(reason, failure.message),
        (None, _) => failure,
    };
    (answer, Some(Trouble { is_answer, ..trouble(failure) }))
}
