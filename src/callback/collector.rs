//! What the callback servers count, read at each scrape.

use super::counters::{Cause, Counters};
use crate::metrics::{catalogue as c, counter, gauge};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::Arc;

/// The counters of all callback servers of this process.
#[derive(Debug)]
pub struct CallbackCollector(pub Arc<Counters>);

impl Collector for CallbackCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counters = &self.0;
        for (described, count) in [
            (&c::CALLBACK_CONNECTIONS, counters.accepted()),
            (&c::CALLBACK_ENGINES, counters.engines()),
            (&c::CALLBACK_RELAYED, counters.relayed()),
            (&c::CALLBACK_SENT, counters.sent_bytes()),
        ] {
            counter(&mut encoder, described, [([], number(count))])?;
        }
        gauge(&mut encoder, &c::CALLBACK_OPEN, [([], number(counters.open()))])?;
        let refused = Cause::ALL.map(|cause| ([cause.label()], number(counters.refused(cause))));
        counter(&mut encoder, &c::CALLBACK_REFUSED, refused)
    }
}

/// As a value: beyond 2^53, eight petabytes, it is rounded.
#[expect(clippy::cast_precision_loss, reason = "the values of the format are such numbers anyway")]
fn number(count: u64) -> f64 {
    count as f64
}
