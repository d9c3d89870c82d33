//! Waiting for something to become true, with a limit and a last word.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine with two cores, unless a test says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// How often is looked.
const EVERY: Duration = Duration::from_millis(100);

/// Looks until `look` has something. Its error says what is there instead; the last one is printed
/// when the limit has passed.
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

/// Looks a thousand times a second: for moments that are over at once.
pub(crate) async fn closely(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while !is() {
        assert!(begun.elapsed() < LIMIT, "waited {} s for: {what}", LIMIT.as_secs());
        tick.tick().await;
    }
}

/// Until a moment has come. For the rare test that has to act at a given time of a run.
pub(crate) async fn pass(span: Duration) {
    // The second tick is the one that takes time.
    let mut tick = tokio::time::interval(span);
    tick.tick().await;
    tick.tick().await;
}
