//! Routing: which agent and which workflow fit a task, how sure that is, and whether anything fits at all.
//!
//! Pure: no disk, clock, network or randomness. The same catalogue, examples and feedback give the same decisions.

pub mod judge;
