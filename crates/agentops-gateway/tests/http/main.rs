//! The gateway's HTTP: what is passed on, what is refused, and what becomes of it when either side misbehaves.

mod background;
mod ceiling;
mod charges;
mod connections;
mod door;
mod endpoints;
mod forwarding;
mod generated;
mod host;
mod http2;
mod lies;
mod limits;
mod misbehaviour;
mod proxies;
mod reference;
mod requests;
mod room;
mod spending;
mod waiting;
mod wire;
