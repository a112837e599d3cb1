//! The real program in a sealed room: cleared environment, own home, own repository, real git, real processes.

mod bad_input;
mod crash;
mod quick;
mod real;
mod room;
