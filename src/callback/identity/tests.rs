//! An identity survives storage, and the error for a damaged identity names the damaged entry.

use super::*;

#[test]
fn an_identity_is_the_same_after_it_was_stored() {
    let made = RunIdentity::generate("r1").unwrap();
    let kept = RunIdentity::from_map("r1", &made.to_map()).unwrap();
    assert_eq!(kept.server_pin(), made.server_pin());
    assert!(kept.is_path_token(made.path_token()));
    assert_eq!(kept.to_map(), made.to_map());
}

#[test]
fn two_runs_have_nothing_in_common() {
    let (one, other) = (RunIdentity::generate("r1").unwrap(), RunIdentity::generate("r1").unwrap());
    assert_ne!(one.server_pin(), other.server_pin());
    assert!(!one.is_path_token(other.path_token()));
}

#[test]
fn the_error_names_the_damaged_entry() {
    let (good, other) =
        (RunIdentity::generate("r1").unwrap().to_map(), RunIdentity::generate("r1").unwrap().to_map());
    for name in [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY, PATH_TOKEN] {
        let mut without = good.clone();
        without.remove(name);
        let error = RunIdentity::from_map("r1", &without).unwrap_err();
        assert!(matches!(error, IdentityError::Missing(n) if n == name), "{error}");

        let mut cut = good.clone();
        cut.get_mut(name).unwrap().truncate(40);
        let error = RunIdentity::from_map("r1", &cut).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { name: n, .. } if n == name), "{name}: {error}");

        let mut mixed = good.clone();
        mixed.insert(name.to_owned(), other[name].clone());
        let read = RunIdentity::from_map("r1", &mixed);
        assert!(name == PATH_TOKEN || matches!(read, Err(IdentityError::Mismatch(..))), "{name}: {read:?}");
    }
    let error = RunIdentity::from_map("r2", &good).unwrap_err();
    assert!(matches!(error, IdentityError::OtherRun(_)), "{error}");
}

#[test]
fn no_key_and_no_token_is_ever_printed() {
    let identity = RunIdentity::generate("r1").unwrap();
    let client = identity.client_certificate("s1", Duration::from_hours(1)).unwrap();
    let printed = format!("{identity:?} {client:?}");
    assert!(!printed.contains(identity.path_token()) && !printed.contains("PRIVATE"), "{printed}");
}
