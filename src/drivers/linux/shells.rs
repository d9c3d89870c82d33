//! Runs the scripts of Linux machines in every shell that is `/bin/sh` somewhere.

mod deploy;
mod scripts;
mod stage;
