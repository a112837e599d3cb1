//! The gateway between agents and model providers: every call goes by here, is measured before it is forwarded, and is
//! not forwarded if it cannot stay below the ceiling or within the budgets.

mod connect;
pub mod conversation;
pub mod count;
pub mod destination;
mod door;
mod entry;
mod follow;
mod forward;
mod gateway;
#[path = "standin/host.rs"]
pub mod host;
mod identity;
pub mod judge;
#[path = "standin/lane.rs"]
pub mod lane;
#[path = "standin/protocol.rs"]
pub mod protocol;
mod refusal;
pub mod scan;
mod server;
mod stream;
#[path = "standin/ticket.rs"]
pub mod ticket;
mod token;
mod unread;
mod upstream;

pub use connect::Proxies;
pub use forward::Limits;
pub use gateway::{Config, Gateway, GatewayError, LaneHandle, LaneSpec};
pub use identity::{Identity, KeyError};
