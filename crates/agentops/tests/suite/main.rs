//! The real program in a sealed room: cleared environment, own home, own repository, real git, real processes.

mod ceiling;
mod crash;
mod once;
mod quick;
mod room;
