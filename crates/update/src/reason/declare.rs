//! How the reasons are declared: the macro that makes the enum of the table.

/// Declares the reasons in one place: the enum, the list, the names, the classes and the texts.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident: $class:ident,)+) => {
        /// A reason, as it appears in conditions, events and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the name, which is in CamelCase and stable, so that it fits a condition and a metric's
            /// label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            const fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)+
                }
            }

            /// Returns the meaning and the next step, for users.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}
