//! Which baseline a run has.
//!
//! A baseline is immutable, but a user may delete it and create another baseline under its name. So a
//! run records which baseline it began with. Otherwise its nodes would get different components.

/// Identifies a baseline by its object and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineId {
    /// The UID of the object.
    pub uid: String,
    /// The digest of the content, see [`crate::digest_of`].
    pub digest: String,
}

impl BaselineId {
    /// Reports whether a run that began with this baseline may continue with the baseline `found`.
    ///
    /// The same object has the same content. Its digest may differ, because another version of the
    /// operator may know other fields.
    pub fn has_content_of(&self, found: &Self) -> bool {
        self.uid == found.uid || self.digest == found.digest
    }
}

#[cfg(test)]
mod tests {
    use super::BaselineId;

    /// Otherwise half of the fleet gets the components of another baseline, or an upgrade of the
    /// operator stops every run.
    #[test]
    fn a_baseline_is_the_same_if_its_object_or_its_content_is() {
        let id = |uid: &str, digest: &str| BaselineId { uid: uid.to_owned(), digest: digest.to_owned() };
        let recorded = id("a", "sha256:1");
        assert!(recorded.has_content_of(&recorded));
        assert!(recorded.has_content_of(&id("a", "sha256:2")), "an upgrade");
        assert!(recorded.has_content_of(&id("b", "sha256:1")), "created again with the same content");
        assert!(!recorded.has_content_of(&id("b", "sha256:2")));
    }
}
