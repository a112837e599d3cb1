//! Stand-in.
#![allow(missing_docs)]
use std::sync::Arc;
#[derive(Debug)]
pub enum Flow {
    GoOn,
    Cut(Vec<u8>),
}
#[derive(Debug)]
pub struct Ticket {
    pub(crate) lane: Arc<crate::lane::Lane>,
    pub(crate) row: Vec<String>,
}
impl Ticket {
    pub fn sent(&mut self) {
        self.row.push("sent".into());
    }
    pub fn answered(&mut self, status: u16, _streamed: bool) {
        self.row.push(status.to_string());
    }
    pub fn push(&mut self, _bytes: &[u8]) -> Flow {
        Flow::GoOn
    }
    pub fn failed(&mut self, word: &str) {
        self.row.push(word.into());
    }
}
impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.rows.lock().unwrap().push(std::mem::take(&mut self.row));
    }
}
