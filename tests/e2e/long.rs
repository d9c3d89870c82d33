//! Tests that take long. A plain `hack/test` leaves them out; `hack/test --long` and `hack/test lab-long` have them.

mod clocks;
mod distributions;
mod emulated;
mod faults;
mod firewalls;
mod switches;
