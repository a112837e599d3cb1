//! What the tests of the other crates need and no user ever sees: a model server that follows a script, a judge that counts
//! what it was asked to read, and a proxy through which clients reach it under the providers' own names.

pub mod judge;
pub mod model;
pub mod proxy;
