//! The real program in a sealed room: cleared environment, own home, own repository, real git, real processes.

mod ceiling;
mod crash;
mod decisions;
mod once;
mod processes;
mod quick;
mod room;
