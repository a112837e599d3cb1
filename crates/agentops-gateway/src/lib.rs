//! The gateway between agents and model providers: every call goes by here, is measured before it is forwarded, and is
//! not forwarded if it cannot stay below the ceiling or within the budgets.

pub mod conversation;
pub mod count;
pub mod judge;
pub mod protocol;
pub mod scan;
pub mod sse;
