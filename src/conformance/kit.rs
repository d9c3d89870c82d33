//! What the checks share: trials on machines of a bench, a few at a time.

use super::report::Broken;
use super::subject::Bench;
use super::trial::{Moment, Trial, moments};
use crate::attempt::Goal;
use futures::future::join_all;
use tokio::sync::{OnceCell, Semaphore};

/// What a check found: what was seen, or why the driver fails it.
pub(super) type Tried<T = String> = Result<T, Broken>;

/// A bench with its free places.
pub(super) struct Kit<'b> {
    pub(super) bench: &'b dyn Bench,
    places: Semaphore,
    moments: OnceCell<Tried<Vec<Moment>>>,
}

/// What one trial showed, beside that no rule was broken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shown {
    /// It ended as `Unverified`.
    pub(super) is_unverified: bool,
    /// Something may be left, and the driver says so.
    pub(super) is_left: bool,
}

impl<'b> Kit<'b> {
    pub(super) fn new(bench: &'b dyn Bench) -> Self {
        Self { bench, places: Semaphore::new(bench.at_once()), moments: OnceCell::new() }
    }

    /// Tries something on a machine of its own.
    pub(super) async fn trial<T>(&self, body: impl AsyncFnOnce(&mut Trial<'b>) -> Tried<T>) -> Tried<T> {
        let Ok(_place) = self.places.acquire().await else {
            return Err(Broken::failed("the bench is closed"));
        };
        let mut trial = Trial::new(self.bench).await;
        let limit = self.bench.limit();
        let tried = tokio::time::timeout(limit, body(&mut trial)).await;
        let tried =
            tried.unwrap_or_else(|_| Err(Broken::failed(format!("not over after {} s", limit.as_secs()))));
        tried.map_err(|broken| match broken {
            Broken::Failed(why) if !trial.log.actions.is_empty() => {
                Broken::Failed(format!("{why} [{}]", trial.log.history()))
            }
            Broken::Failed(_) | Broken::Skipped(_) => broken,
        })
    }

    /// As [`Self::trial`], with an update.
    pub(super) async fn update<T>(&self, body: impl AsyncFnOnce(&mut Trial<'b>) -> Tried<T>) -> Tried<T> {
        if let Some(why) = self.bench.only_inventory() {
            return Err(Broken::Skipped(why.to_owned()));
        }
        self.trial(body).await
    }

    /// Tries something at each moment of an update, each on a machine of its own.
    pub(super) async fn at_each_moment(
        &self,
        is_chosen: impl Fn(&Moment) -> bool,
        body: impl AsyncFn(&mut Trial<'b>, Moment) -> Tried<Shown>,
    ) -> Tried {
        let chosen: Vec<Moment> = self.moments().await?.into_iter().filter(is_chosen).collect();
        let body = &body;
        let trials = chosen.iter().map(async |&moment| {
            let tried = self.update(async |trial| body(trial, moment).await).await;
            tried.map_err(|broken| match broken {
                Broken::Failed(why) => format!("{moment}: {why}"),
                Broken::Skipped(why) => why,
            })
        });
        let tried = join_all(trials).await;
        let wrong: Vec<String> = tried.iter().filter_map(|tried| tried.clone().err()).collect();
        if !wrong.is_empty() {
            let (failed, all) = (wrong.len(), chosen.len());
            return Err(Broken::failed(format!("{failed} of {all} moments: {}", wrong.join("; "))));
        }
        let shown: Vec<Shown> = tried.into_iter().flatten().collect();
        let unverified = shown.iter().filter(|shown| shown.is_unverified).count();
        let left = shown.iter().filter(|shown| shown.is_left).count();
        let mut parts = vec![format!("{} moments", shown.len())];
        if unverified > 0 {
            parts.push(format!("{unverified} ended as Unverified"));
        }
        if left > 0 {
            parts.push(format!("{left} reported what may be left"));
        }
        Ok(parts.join("; "))
    }

    /// Returns the moments of an update without faults.
    async fn moments(&self) -> Tried<Vec<Moment>> {
        let find = || {
            self.update(async |trial| {
                trial.finish(Goal::Update).await;
                Ok(moments(self.bench.journal(), trial.log.asked, trial.log.shown))
            })
        };
        self.moments.get_or_init(find).await.clone()
    }
}
