//! Why an update is refused or fails. What is said of it is the business of each product.

/// Why an update is refused or fails. Each product has its own words for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The account may not.
    Privilege,
    /// Another update runs.
    Busy,
    /// The security mode forbids it; the mode's name.
    Mode(String),
    /// The standby or backup module takes no image.
    Standby,
    /// The partner of the pair is not well.
    Partner,
    /// The transfer failed; what the client said.
    Transfer(String),
    /// There is no room.
    NoRoom,
    /// The file is no image, or was cut off.
    NotAnImage,
    /// The image is for another product or model.
    WrongModel,
    /// The signature does not fit.
    Signature,
    /// The image needs one of these versions first.
    StepMissing(String),
    /// The user said no.
    Declined,
    /// It broke off while it was written.
    Broken,
}
