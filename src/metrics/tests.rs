//! What is served and what is documented are the same.
