//! The gateway between agents and model providers: every call goes by here, is measured before it is forwarded, and is
//! not forwarded if it cannot stay below the ceiling or within the budgets.

pub mod alone;
mod background;
mod connect;
pub mod conversation;
pub mod day;

pub mod destination;
mod door;
mod entry;
mod follow;
mod forward;
mod gateway;
pub mod host;
mod identity;
mod idle;
pub mod judge;
pub mod lane;
mod link;
mod offload;
mod outgoing;
pub mod protocol;
mod refusal;
mod reset;
pub mod scan;
mod scrub;
mod server;
pub mod sse;
mod stream;
pub mod ticket;
mod token;
mod traffic;
mod unread;
mod upstream;

pub use connect::Proxies;
pub use forward::Limits;
pub use gateway::{Config, Gateway, GatewayError, LaneHandle, LaneSpec};
pub use identity::{Identity, KeyError, usable_key};
pub use token::is_lane_address;
