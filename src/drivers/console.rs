//! Devices with a command line over SSH: chassis managers, interconnects, switches, and what else a product file
//! describes.
//!
//! ```text
//! product file ──► lint ──► Product ─┐
//! bytes of the device, time ─────────┴─► Dialogue ──► bytes to send | Answer ──► read
//! ```
//!
//! A product is one file of data (docs/console-devices.md); no code asks for a product. All that is here so far is
//! pure: no clock, no sockets. Nothing is registered yet (docs/adr/0040-console-driver.md says what is missing).

pub mod blot;
pub mod dialogue;
pub mod file;
pub mod lint;
pub mod meaning;
pub mod product;
pub mod products;
pub mod push;
pub mod read;
pub mod screen;
pub mod span;
pub mod template;

pub use dialogue::{Action, Answer, Dialogue, End, Exchange};
pub use lint::Finding;
pub use meaning::Meaning;
pub use product::Product;
pub use template::{Slot, Values};
