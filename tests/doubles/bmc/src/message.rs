//! What a BMC says, by occasion: the words of the registries are data of the variant.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

macro_rules! words {
    ($($(#[$doc:meta])* $word:ident,)*) => {
        /// An occasion on which a BMC says something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum Word { $($(#[$doc])* $word,)* }

        impl Word {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$word,)*];
        }
    };
}

words! {
    AccessDenied,
    LoginFailed,
    AccountLocked,
    SessionLimit,
    Privilege,
    NotFound,
    MethodNotAllowed,
    NotImplemented,
    Malformed,
    PropertyMissing,
    PropertyUnknown,
    PropertyReadOnly,
    PropertyValue,
    AlreadyExists,
    LimitReached,
    Precondition,
    QueryUnsupported,
    QueryValue,
    Unavailable,
    Internal,
    ResetInProgress,
    Success,
    Created,
    Busy,
    Maintenance,
    Disabled,
    NoLicence,
    NoRoom,
    Locked,
    TooLarge,
    LengthRequired,
    WrongTarget,
    WrongProtocol,
    WrongFileType,
    AlreadyInstalled,
    WrongModel,
    BadSignature,
    BadImage,
    FetchFailed,
    TpmOverride,
    PowerIsOff,
    TaskStarted,
    TaskFetching,
    TaskProgress,
    TaskScheduled,
    TaskDone,
    TaskFailed,
    PartDone,
    PartFailed,
    RebootPending,
    Intervention,
    WaitsForOther,
    UpdateCritical,
}

/// One entry of a message registry, with the status it is answered with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) status: u16,
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) severity: String,
    pub(crate) resolution: String,
}

impl Message {
    /// As an element of `@Message.ExtendedInfo` or `Messages`, with `%1`, `%2` filled in.
    pub(crate) fn render(&self, args: &[&str]) -> Value {
        let mut text = self.text.clone();
        for (n, arg) in args.iter().enumerate() {
            text = text.replace(&format!("%{}", n + 1), arg);
        }
        // `Critical` and `Warning` are both `MessageSeverity`; `Severity` is its deprecated elder.
        json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": self.id,
            "Message": text,
            "MessageArgs": args,
            "Severity": self.severity,
            "MessageSeverity": self.severity,
            "Resolution": self.resolution,
        })
    }
}
