//! What the tests of the other crates need and no user ever sees: a model server that follows a script.

pub mod model;
