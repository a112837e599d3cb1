//! Stand-in.
#![allow(missing_docs)]
use crate::{
    host::Note,
    protocol::{Protocol, Reply},
    ticket::Ticket,
};
use bytes::Bytes;
use std::sync::Arc;
#[derive(Debug)]
pub struct Incoming {
    pub protocol: Protocol,
    pub model: Option<String>,
    pub streamed: Option<bool>,
    pub body: Bytes,
}
#[derive(Debug)]
pub enum Admitted {
    Forward { body: Bytes, ticket: Ticket },
    Refuse(Reply),
}
#[derive(Debug, Default)]
pub struct Lane {
    pub notes: std::sync::Mutex<Vec<Note>>,
    pub rows: std::sync::Mutex<Vec<Vec<String>>>,
}
impl Lane {
    pub fn note(&self, note: Note) {
        self.notes.lock().unwrap().push(note);
    }
    pub async fn admit(self: &Arc<Self>, call: Incoming) -> Admitted {
        Admitted::Forward { body: call.body, ticket: Ticket { lane: Arc::clone(self), row: Vec::new() } }
    }
}
