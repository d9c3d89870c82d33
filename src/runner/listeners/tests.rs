//! What the sessions get of the listeners.

use super::*;

/// Regression: when the process was told to stop, the listeners closed, and every attempt asked for a
/// listener again and again without a pause. The process neither released its Leases nor its ports.
#[tokio::test]
async fn a_closed_listener_is_not_given_out() {
    let listeners = Listeners::default();
    let closed = CancellationToken::new();
    let listener = OpenListener {
        identity: Arc::new(RunIdentity::generate("r1").unwrap()),
        pair: Pair { http: 63001, https: 63002 },
        sources: watch::channel(Arc::default()).1,
        names: watch::channel(Arc::default()).1,
        services: watch::channel(BTreeMap::new()).1,
        refusals: Arc::default(),
        closed: closed.clone(),
    };
    listeners.lock().insert("r1".to_owned(), listener);
    assert!(listeners.of("r1", Duration::ZERO).await.is_some() && listeners.is_open("r1"));
    closed.cancel();
    assert!(listeners.of("r1", Duration::from_millis(1)).await.is_none());
    assert!(!listeners.is_open("r1"));
}
