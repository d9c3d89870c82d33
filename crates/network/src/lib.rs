//! Which ports must be open, who gets which port, and which addresses may pass.
//!
//! Pure, like `farrier-update`: no clock, no files, no sockets, no Kubernetes.
