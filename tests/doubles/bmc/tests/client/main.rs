//! The double as a client of the network sees it, through a client that knows nothing of it (reqwest).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod events;
mod faults;
mod parts;
mod queue;
mod servers;
mod session;
mod trust;
mod vendors;
