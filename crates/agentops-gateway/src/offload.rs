//! Work on large bodies runs on threads of its own, so that the threads that serve connections never wait for it.

use std::sync::{Arc, LazyLock};
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::{self, JoinError};

/// Work on at most this many bytes is done where the call is served: it takes less than a millisecond.
pub(crate) const LARGE_BYTES: usize = 64 << 10;

/// How many large bodies are worked on at once, of all lanes together. The others wait in their order.
static TURNS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))));

/// Does work on a body of `bytes` bytes: here if it is small, otherwise on a thread of its own when its turn comes.
pub(crate) async fn run<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= LARGE_BYTES { work() } else { on_own_thread(bytes, work).await }
}

/// As [`run`], on a thread of its own even if it is small; small work waits for no turn.
pub(crate) async fn on_own_thread<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    let turn = match bytes <= LARGE_BYTES {
        true => None,
        // It is never closed.
        false => Arc::clone(&TURNS).acquire_owned().await.ok(),
    };
    let work = move || {
        // A client that leaves does not end the work, so the turn ends with the work.
        let _turn = turn;
        work()
    };
    match task::spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The gateway ends, and this task with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::task::Poll;

    use agentops_core::budget::{Amount, Limits};
    use agentops_core::call::CallRow;
    use agentops_core::models::UserWindows;
    use agentops_core::workflow::Secrets;
    use agentops_safe::Redactor;

    use super::*;
    use crate::host::{Answer, Host, Note, Refusal, WindowRemedy, answer};
    use crate::lane::{Admitted, Incoming, Lane, Rules};
    use crate::protocol::Protocol;

    struct Grants;

    impl Host for Grants {
        fn grant(&self, ask: Amount, _admitted_ms: u64) -> Answer<Option<Amount>> {
            let (answers, waits) = answer();
            answers.send(Some(ask)).ok();
            waits
        }
        fn settled(&self, _row: CallRow, _missing: Option<Amount>) {}
        fn refused(&self, _refusal: Refusal) -> Answer<()> {
            answer().1
        }
        fn note(&self, _note: Note) {}
    }

    fn lane() -> Arc<Lane> {
        Lane::new(Rules {
            provider: "mine".into(),
            window: None,
            user_windows: UserWindows::default(),
            window_remedy: WindowRemedy::Command,
            takes_limit: true,
            close_when_refused: false,
            hint: String::new(),
            hint_past_summary: String::new(),
            plain_refusal: false,
            secrets: Secrets::Redact,
            redactor: Redactor::new([]),
            scopes: Vec::new(),
            day: Limits::default(),
            book: Arc::<Mutex<_>>::default(),
            clock: Arc::new(|| 0),
            host: Arc::new(Grants),
        })
    }

    fn call(bytes: usize) -> Incoming {
        let text = "\\n".repeat(bytes / 2);
        let body = format!(
            "{{\"model\":\"gemini-2.5-pro\",\"max_tokens\":10,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
        );
        Incoming { protocol: Protocol::Chat, model: None, streamed: None, body: body.into() }
    }

    /// The runtime has one thread, as the gateway's has. This is the only test of this program that takes turns.
    #[tokio::test]
    async fn small_calls_of_this_and_other_lanes_pass_while_large_ones_wait_for_their_turn() {
        let all = TURNS.available_permits();
        let turns = TURNS.acquire_many(u32::try_from(all).unwrap()).await.unwrap();
        let (lane, other) = (lane(), lane());
        let mut large = pin!(lane.admit(call(2 * LARGE_BYTES)));
        assert!(polled(large.as_mut()).await.is_pending(), "it is read where all calls are served");
        for lane in [&lane, &other] {
            assert!(matches!(lane.admit(call(1_000)).await, Admitted::Forward { .. }));
        }
        assert!(polled(large.as_mut()).await.is_pending());
        drop(turns);
        assert!(matches!(large.await, Admitted::Forward { .. }));

        // The turn of a client that leaves ends with the work, which goes on.
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = channel::<()>();
        let work = move || {
            begun.send(()).ok();
            ends.recv().ok();
        };
        tokio::select! {
            () = run(LARGE_BYTES + 1, work) => panic!("it does not end by itself"),
            begun = has_begun => begun.unwrap(),
        }
        assert_eq!(TURNS.available_permits(), all - 1);
        drop(end);
        let _all_are_back = TURNS.acquire_many(u32::try_from(all).unwrap()).await.unwrap();
    }

    async fn polled<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
