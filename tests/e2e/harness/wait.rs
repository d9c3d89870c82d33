//! Waits for a condition, with a limit and a report of the last state.

use std::time::{Duration, Instant};

/// Default limit of a wait, on a busy machine with two cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Time between two checks.
const EVERY: Duration = Duration::from_millis(100);

/// Calls `look` until it returns a value. The error of `look` describes the current state; the last
/// error is printed when the limit has passed.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(instead) if begun.elapsed() > limit => {
                panic!("waited {} s for: {what}; instead: {instead}", limit.as_secs())
            }
            Err(_) => {}
        }
    }
}

/// Checks a thousand times a second: for states that last only a moment.
pub(crate) async fn closely(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while !is() {
        assert!(begun.elapsed() < LIMIT, "waited {} s for: {what}", LIMIT.as_secs());
        tick.tick().await;
    }
}

/// Waits for a time span. Only for the rare test that has to act at a given time of a run.
pub(crate) async fn pass(span: Duration) {
    // The first tick completes immediately, the second after the span.
    let mut tick = tokio::time::interval(span);
    tick.tick().await;
    tick.tick().await;
}
