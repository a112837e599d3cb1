//! The real program in a sealed room: cleared environment, own home, own repository, real git, real processes.

mod agents;
mod agents_refused;
mod bad_input;
mod budget;
mod bundles;
mod ceiling;
mod crash;
mod decisions;
mod formats;
mod gateway;
mod hostile_text;
mod logins;
mod once;
mod processes;
mod quick;
mod real;
mod recall;
mod room;
mod route;
mod routing;
mod state_folder;
mod telemetry;
mod terminal;
mod trust;
mod with;
mod with_real;
