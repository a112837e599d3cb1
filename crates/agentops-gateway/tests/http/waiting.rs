//! Calls that wait for their grant while others of their lane come and go.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use agentops_core::budget::Amount;
use agentops_core::call::CallRow;
use agentops_gateway::host::{Answer, Answering, Host, Note, Refusal, answer};
use agentops_gateway::lane::{Admitted, Incoming, Lane};
use agentops_gateway::protocol::Protocol;
use serde_json::{Value, json};

use crate::host::rules;

/// A host that answers when the test says so.
#[derive(Default)]
struct SlowHost {
    asked: Mutex<Vec<(Amount, Answering<Option<Amount>>)>>,
    rows: Mutex<Vec<CallRow>>,
}

impl SlowHost {
    fn grants(&self) {
        for (ask, answering) in self.asked.lock().unwrap().drain(..) {
            answering.send(Some(ask)).ok();
        }
    }
}

impl Host for SlowHost {
    fn grant(&self, ask: Amount, _admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answering, answer) = answer();
        self.asked.lock().unwrap().push((ask, answering));
        answer
    }

    fn settled(&self, row: CallRow, _missing: Option<Amount>) {
        self.rows.lock().unwrap().push(row);
    }

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        panic!("{refusal}")
    }

    fn note(&self, _note: Note) {}
}

fn lane() -> (Arc<Lane>, Arc<SlowHost>) {
    let host = Arc::<SlowHost>::default();
    (Lane::new(rules(200_000, Arc::clone(&host) as Arc<dyn Host>)), host)
}

fn incoming(mut body: Value, messages: &[&str]) -> Incoming {
    let messages: Vec<Value> = messages.iter().map(|text| json!({"role": "user", "content": text})).collect();
    body["model"] = "claude-sonnet-5-5".into();
    body["max_tokens"] = 1_000.into();
    body["messages"] = messages.into();
    Incoming { protocol: Protocol::Messages, model: None, streamed: None, body: body.to_string().into() }
}

/// Lets a call go on until it waits.
async fn waits(call: &mut Pin<Box<impl Future<Output = Admitted>>>) {
    poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn b3_a_grant_that_comes_after_its_client_has_gone_serves_the_next_call() {
    let (lane, host) = lane();
    runtime().block_on(async {
        let mut gone = Box::pin(lane.admit(incoming(json!({}), &["work"])));
        waits(&mut gone).await;
        drop(gone);
        host.grants();
        tokio::task::yield_now().await;
        let mut next = Box::pin(lane.admit(incoming(json!({}), &["work"])));
        let admitted = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
        assert!(matches!(admitted, Poll::Ready(Admitted::Forward { .. })), "it asks for nothing again");
    });
}

/// A program asks for a title while the first call of its work waits.
#[test]
fn conversations_that_begin_side_by_side_stay_apart() {
    let (lane, host) = lane();
    let work = || json!({"tools": [{"name": "read", "description": "", "input_schema": {"type": "object"}}]});
    runtime().block_on(async {
        let mut first = Box::pin(lane.admit(incoming(work(), &["work"])));
        waits(&mut first).await;
        let mut title = Box::pin(lane.admit(incoming(json!({}), &["title"])));
        waits(&mut title).await;
        host.grants();
        drop(first.await);
        drop(title.await);
        let mut more = Box::pin(lane.admit(incoming(work(), &["work", "more"])));
        waits(&mut more).await;
        host.grants();
        drop(more.await);
    });
    let rows = host.rows.lock().unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.conversation, row.sub_agent)).collect();
    assert_eq!(seen, [(1, false), (2, true), (1, false)]);
}
