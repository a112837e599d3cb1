//! Routing: which agent and which workflow fit a task, how sure that is, and whether anything fits at all.
//!
//! Pure: no disk, clock, network or randomness. The same catalogue, examples and feedback give the same decisions.

pub mod blend;
pub mod bytes;
pub mod catalogue;
pub mod corpus;
pub mod eval;
pub mod example_index;
pub mod features;
pub mod feedback;
pub mod grow;
pub mod judge;
pub mod memory;
pub mod net;
pub mod prior;
pub mod router;
pub mod scope;
