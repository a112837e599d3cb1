//! Every name that is sent. `gen_ai.*` and the other public ones are those of the conventions; what these have no name for is
//! `agentops.*`.
//!
//! The conventions are still being worked on and names change. The ones here are checked against a pinned list by a test
//! (`tests/data/conventions.txt`).

macro_rules! names {
    ($(#[$all:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        $(#[$all])*
        pub const $list: &[&str] = &[$($text),*];
    };
}

names! {
    /// Attributes of the conventions.
    CONVENTION_ATTRIBUTES:
    /// What the span is: `invoke_workflow`, `invoke_agent`, `chat`.
    OPERATION = "gen_ai.operation.name";
    /// Who answers: `anthropic`, `openai`, `gcp.gemini`, or the name of a configured destination.
    PROVIDER = "gen_ai.provider.name";
    /// The workflow.
    WORKFLOW = "gen_ai.workflow.name";
    /// The agent.
    AGENT = "gen_ai.agent.name";
    /// The conversation within its lane.
    CONVERSATION = "gen_ai.conversation.id";
    /// The context of the call is a compacted one.
    COMPACTED = "gen_ai.conversation.compacted";
    /// The model that was asked for.
    REQUEST_MODEL = "gen_ai.request.model";
    /// The most output that was allowed, in tokens.
    MAX_TOKENS = "gen_ai.request.max_tokens";
    /// The answer was streamed. Absent: it was not.
    STREAM = "gen_ai.request.stream";
    /// The model that answered.
    RESPONSE_MODEL = "gen_ai.response.model";
    /// The answer's id.
    RESPONSE_ID = "gen_ai.response.id";
    /// Why the model stopped, in the provider's words.
    FINISH_REASONS = "gen_ai.response.finish_reasons";
    /// Until a streamed answer's first byte, in seconds.
    TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";
    /// Input tokens, those of caches included.
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    /// Of these, read from a cache.
    CACHE_READ = "gen_ai.usage.cache_read.input_tokens";
    /// Of these, written to a cache.
    CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens";
    /// The same under its former name: receivers that do not know the new one would price a cache write as plain input.
    CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens";
    /// Output tokens, thinking included.
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    /// Of these, hidden reasoning.
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens";
    /// What tokens of a metric are; always `unknown`, since providers' totals do not say.
    MODALITY = "gen_ai.token.modality";
    /// What went wrong, one word. Absent: nothing.
    ERROR = "error.type";
}

names! {
    /// Our own attributes, where the conventions have none.
    OWN_ATTRIBUTES:
    /// The run's id.
    RUN = "agentops.run";
    /// How the run ended: `done`, `failed`, `cancelled`.
    OUTCOME = "agentops.run.outcome";
    /// Times a supervisor took the run over from a dead one.
    TAKEOVERS = "agentops.run.takeovers";
    /// The profile.
    PROFILE = "agentops.profile";
    /// The task's text. Sent only where capturing content was turned on, and redacted.
    TASK = "agentops.task";
    /// The phase.
    PHASE = "agentops.phase";
    /// Rounds through the phase's gates.
    ROUNDS = "agentops.phase.rounds";
    /// Tokens that the phase's sessions held, before they became a bundle.
    BUNDLE_BEFORE = "agentops.bundle.tokens_before";
    /// Estimated tokens of the bundle.
    BUNDLE_AFTER = "agentops.bundle.tokens_after";
    /// The lane within its phase.
    LANE = "agentops.lane";
    /// The session: `phase/lane/number`.
    SESSION = "agentops.session";
    /// How the session ended.
    SESSION_END = "agentops.session.end";
    /// Calls of the session.
    SESSION_CALLS = "agentops.session.calls";
    /// Tokens that all calls of the session used. Not `gen_ai.usage.*`: receivers add that up over a trace, and the calls have it.
    SESSION_TOKENS = "agentops.session.tokens";
    /// What the program itself said that its calls used, where that is not what the gateway saw.
    SESSION_SAID = "agentops.session.tokens_said";
    /// The driver.
    DRIVER = "agentops.driver";
    /// How the ceiling is enforced: `prevented`, `stopped`, `no-model`.
    ENFORCEMENT = "agentops.enforcement";
    /// The window that the context is measured against, in tokens.
    WINDOW = "agentops.context.window";
    /// Where a context may not go beyond, in tokens.
    CEILING = "agentops.context.ceiling";
    /// The context after the call, or the session's largest, in tokens.
    CONTEXT = "agentops.context.tokens";
    /// The share of the window that it is, 0 to 1.
    USED_RATIO = "agentops.context.used_ratio";
    /// The call's place in its session, from 1.
    CALL = "agentops.call";
    /// What the call was for: `work`, `hand-over`, `compaction`.
    CALL_KIND = "agentops.call.kind";
    /// The call is a sub-agent's or a side request.
    SUB_AGENT = "agentops.call.sub_agent";
    /// Who measured the call: `gateway`, or `driver`, which says when it ended and not when it began.
    MEASURED_BY = "agentops.call.measured_by";
    /// Input tokens as estimated before the call.
    ESTIMATE = "agentops.call.estimated_input_tokens";
    /// Status of the HTTP answer.
    STATUS = "agentops.call.http_status";
    /// Tokens taken from the budgets; above a call, with what may have been spent and nobody wrote down.
    CHARGED = "agentops.budget.charged_tokens";
    /// What the run or the phase may spend, in tokens.
    LIMIT = "agentops.budget.limit_tokens";
    /// What it may spend in US dollars.
    LIMIT_USD = "agentops.budget.limit_usd";
    /// What was taken from the budgets, in US dollars.
    COST = "agentops.cost_usd";
    /// Where that comes from: `list-price` of the provider's token counts, `upper-bound` where it said none, `sum` above a
    /// call.
    COST_SOURCE = "agentops.cost_source";
}

names! {
    /// Metrics of the conventions.
    CONVENTION_METRICS:
    /// Seconds of a call. Histogram.
    CALL_DURATION = "gen_ai.client.inference.duration";
    /// Seconds until the first byte of a streamed answer. Histogram.
    CALL_FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk";
    /// Input tokens, those of caches included. Counter.
    USED_INPUT = "gen_ai.client.inference.usage.input_tokens";
    /// Of these, read from a cache. Counter.
    USED_CACHE_READ = "gen_ai.client.inference.usage.cache_read.input_tokens";
    /// Of these, written to a cache. Counter.
    USED_CACHE_WRITE = "gen_ai.client.inference.usage.cache_write.input_tokens";
    /// Output tokens, thinking included. Counter.
    USED_OUTPUT = "gen_ai.client.inference.usage.output_tokens";
    /// Of these, hidden reasoning. Counter.
    USED_REASONING = "gen_ai.client.inference.usage.reasoning.output_tokens";
    /// Seconds of a session. Histogram.
    AGENT_DURATION = "gen_ai.invoke_agent.duration";
    /// Calls of a session. Histogram.
    AGENT_CALLS = "gen_ai.invoke_agent.inference_calls";
    /// Seconds of a run. Histogram.
    WORKFLOW_DURATION = "gen_ai.invoke_workflow.duration";
}

names! {
    /// Our own metrics.
    OWN_METRICS:
    /// The share of the window that the context of a call is, 0 to 1. Histogram.
    CONTEXT_RATIO = "agentops.context.used_ratio";
    /// The largest share in a session, 0 to 1. Histogram.
    SESSION_RATIO = "agentops.session.used_ratio";
    /// US dollars taken from budgets. Counter.
    SPENT = "agentops.cost";
}

names! {
    /// What describes this program.
    RESOURCE_ATTRIBUTES:
    /// `agentops`, or what `OTEL_SERVICE_NAME` says.
    SERVICE_NAME = "service.name";
    /// The version of this program.
    SERVICE_VERSION = "service.version";
    /// Which supervisor: two of them count for themselves.
    SERVICE_INSTANCE = "service.instance.id";
}

/// The project of a receiver that sorts by projects (OpenInference); sent only if it is configured.
pub const PROJECT: &str = "openinference.project.name";

/// Marks the series that sums up what was one series too many.
pub const OVERFLOW: &str = "otel.metric.overflow";
/// What made the spans and metrics.
pub const SCOPE: &str = "agentops";
