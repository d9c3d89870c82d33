//! Bad input: each kind ends in a condition with its own reason, and other machines go on.
