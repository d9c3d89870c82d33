//! What doubles of devices have in common, whatever they speak: faults that a test switches on, a journal, the control
//! API for both, ports that really close, firmware images, and files that the device fetches.
//!
//! What a device is, and where its faults take effect, is the business of `tests/doubles/bmc` and
//! `tests/doubles/console`. Nothing here knows Farrier.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON object lacks reads as null, which is what is meant"
)]

pub mod control;
pub mod fault;
pub mod fetch;
pub mod image;
pub mod journal;
pub mod port;
pub mod program;
