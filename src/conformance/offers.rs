//! Offers where nothing can be fetched.

use crate::attempt::{Fetch, FetchWay, Offer, OfferedFile, Offers, Waiting};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::ActionId;
use futures::future::BoxFuture;
use std::net::IpAddr;
use std::time::Duration;

/// Offers nothing: no port is open from which a machine could fetch an image.
#[derive(Debug, Clone, Copy)]
pub struct NoOffers;

fn refusal() -> Failure {
    Failure::new(
        Reason::CallbackRefused,
        "no port is open here from which the machine could fetch its image; update it with an UpdateRun, which opens one",
    )
}

impl Offers for NoOffers {
    fn pick(&self, ways: &[FetchWay], _: Option<IpAddr>) -> Result<FetchWay, Failure> {
        ways.first().copied().ok_or_else(refusal)
    }

    fn wait(&self) -> Waiting {
        Waiting::new(Reason::Exposing, "a port that nobody opens", "ports", Duration::ZERO)
    }

    fn offer<'a>(&'a self, _: FetchWay, _: OfferedFile<'a>) -> BoxFuture<'a, Result<Offer, Failure>> {
        Box::pin(std::future::ready(Err(refusal())))
    }

    fn fetched(&self, _: ActionId) -> Option<Fetch> {
        None
    }

    fn withdraw(&self, _: ActionId) -> bool {
        false
    }

    fn keep(&self, _: &[ActionId]) {}
}
