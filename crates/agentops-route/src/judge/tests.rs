//! What the rules hold, and the traps that they leave alone.
