//! What may be typed. Plain data: nothing here looks at the machine.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

use agentops_bundle::manifest::BundleId;
use agentops_core::id::{Name, RunId};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run AI agents reliably: research, plan, implement; every phase in a fresh context, never more than 40 % of the window
#[derive(Debug, Parser)]
#[command(name = "agentops", version, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every command
    #[command(flatten)]
    pub global: Global,
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The repository; default: where you are
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Folder of private state
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON; `agentops schema` has its form
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands, the daily ones first.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a task through its phases
    Run(RunArgs),
    /// Show every run and what it waits for
    Status(StatusArgs),
    /// Show one run whole
    Show(ShowArgs),
    /// Show what agents said and did
    Logs(LogsArgs),
    /// Approve what a run shows
    Approve(ApproveArgs),
    /// Refuse it, with words for the next session
    Reject(RejectArgs),
    /// Go on after a decision or a crash
    Resume(ResumeArgs),
    /// End a run; its work is kept
    Cancel(RunArg),
    /// Merge a result into your branch, tested again first
    Merge(MergeArgs),
    /// Put a result away; it can be brought back
    Discard(RunArg),
    /// Start your own agent program behind the gateway
    With(WithArgs),
    /// Meter and limit the model calls of any program, until it is interrupted
    Gateway(GatewayArgs),
    /// Make code, logs, transcripts and more small for an agent
    Bundle(BundleArgs),
    /// Find what was learnt, decided, said and done before
    Recall(RecallArgs),
    /// List agents; add and remove catalogues of them
    Agents(AgentsArgs),
    /// Show where a task would go, and teach it
    Route(RouteArgs),
    /// See and agree to what a repository would run
    Trust(TrustArgs),
    /// Check this machine and repository
    Doctor(DoctorArgs),
    /// See the whole work on an example, without any agent installed
    Demo(DemoArgs),
    /// Print the JSON Schema of a file or an output
    Schema(SchemaArgs),
    /// Print a completion script for your shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The repository's supervisor
    #[command(hide = true)]
    Supervise,
}

/// `agentops run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What is to be done, in plain words
    #[arg(value_name = "TASK", required_unless_present = "file")]
    pub task: Option<String>,
    /// Read the task from a file; `-` is stdin
    #[arg(long, short, value_name = "FILE", conflicts_with = "task")]
    pub file: Option<PathBuf>,
    /// The workflow: full, quick, or one of yours; default: the settings', else routed
    #[arg(long, short)]
    pub workflow: Option<String>,
    /// The agent for phases that change files: a name, or a label of `agentops agents`
    #[arg(long)]
    pub agent: Option<String>,
    /// The agent program: claude, codex, opencode, gemini, acp, command
    #[arg(long)]
    pub driver: Option<String>,
    /// The model, as the agent program names it
    #[arg(long)]
    pub model: Option<String>,
    /// Start from this commit instead of HEAD
    #[arg(long, value_name = "REV")]
    pub base: Option<String>,
    /// Approve beforehand
    #[arg(long, value_enum, default_value_t = ApproveArg::None)]
    pub approve: ApproveArg,
    /// Trust the repository if it has this hash (for machines)
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
    /// A setting of the agents' driver, such as script=FILE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Start nothing; show what would happen
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not wait for the end
    #[arg(long, short)]
    pub detach: bool,
}

/// Approvals given beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApproveArg {
    /// Ask for each
    None,
    /// Plans
    Plan,
    /// All
    All,
}

/// A run.
#[derive(Debug, Args)]
pub struct RunArg {
    /// The run; default: the newest
    #[arg(value_name = "RUN")]
    pub run: Option<RunId>,
}

/// `agentops resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// Let more be spent first: tokens=N or usd=N, the whole new limit
    #[arg(long, value_name = "WHAT=N")]
    pub raise: Vec<String>,
    /// Of which budget: run, phase:NAME or lane:PHASE/LANE; default: the one that is used up
    #[arg(long, value_name = "BUDGET", requires = "raise")]
    pub budget: Option<String>,
}

/// `agentops status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How many runs
    #[arg(long, short = 'l', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// `agentops show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// Show its change as a patch
    #[arg(long)]
    pub diff: bool,
    /// Show a document of it, such as plan.md
    #[arg(long, value_name = "NAME")]
    pub document: Option<String>,
    /// Show all that a gate's command printed when it ran last
    #[arg(long, value_name = "GATE")]
    pub output: Option<String>,
}

/// `agentops logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// Go on until the run rests
    #[arg(long, short)]
    pub follow: bool,
    /// Show the agents' raw transcripts
    #[arg(long)]
    pub raw: bool,
}

/// `agentops approve`
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// Only if what waits has this hash, or begins with it
    #[arg(long, value_name = "HASH")]
    pub shown: Option<String>,
}

/// `agentops reject`
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// What must change
    #[arg(long, short)]
    pub message: String,
}

/// `agentops merge`
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The run
    #[command(flatten)]
    pub run: RunArg,
    /// Agree to changes of what trust covers
    #[arg(long)]
    pub trust_changes: bool,
    /// Agree to hooks and settings of git that changed since the run started, by the hash that was shown
    #[arg(long, value_name = "HASH")]
    pub trust: Option<String>,
    /// Do not run the test on the merged result
    #[arg(long)]
    pub no_test: bool,
}

/// `agentops with`
#[derive(Debug, Args)]
pub struct WithArgs {
    /// The window to hold it to, where that is smaller than the model's own or the model is unknown
    #[arg(long, value_name = "TOKENS")]
    pub window: Option<NonZeroU64>,
    /// Write every call and the totals to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The agent program (claude, codex, opencode, gemini) and its own arguments
    #[arg(value_name = "AGENT", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// `agentops gateway`
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// The loopback port; default: a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// Where calls may go: anthropic, openai, google, or one of your config.toml; default: all whose key is set
    #[arg(long, value_name = "NAME")]
    pub destination: Vec<String>,
    /// The window to hold calls to, where that is smaller than their model's own or the model is unknown
    #[arg(long, value_name = "TOKENS")]
    pub window: Option<NonZeroU64>,
    /// Pass your programs' own logins on instead of a key
    #[arg(long)]
    pub login: bool,
}

/// `agentops trust`
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// What to do; default: show
    #[command(subcommand)]
    pub what: Option<TrustWhat>,
    /// The workflow it is about
    #[arg(long, short, global = true)]
    pub workflow: Option<String>,
    /// The agent it is about, as `run --agent` takes it
    #[arg(long, global = true)]
    pub agent: Option<String>,
    /// The agent program it is about
    #[arg(long, global = true)]
    pub driver: Option<String>,
}

/// What `agentops trust` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum TrustWhat {
    /// Show what would run
    Show,
    /// Agree to it as it is now
    Add,
    /// Take trust back
    Revoke,
}

/// `agentops demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Kill the supervisor in the middle of it, and resume
    #[arg(long)]
    pub kill: bool,
    /// Keep the example's folder
    #[arg(long)]
    pub keep: bool,
}

/// `agentops schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of what
    #[arg(value_enum)]
    pub of: SchemaOf,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// A workflow file
    Workflow,
    /// An agent file's front matter
    Agent,
    /// .agentops/config.toml
    Config,
    /// config.toml in your own settings folder
    UserConfig,
    /// The document that closes a run out
    CloseOut,
    /// A reviewer's verdict
    Verdict,
    /// Output of `show --json` and `run --json`
    Show,
    /// Output of `status --json`
    Status,
    /// Output of `trust show --json`
    Trust,
    /// Output of `run --dry-run --json`
    DryRun,
    /// Output of `doctor --json`
    Doctor,
    /// A line of `logs --json`
    Logs,
    /// What `with --report` writes
    WithReport,
    /// A line of `gateway --json`
    Gateway,
    /// Output of `bundle code`, `log` and the like with `--json`
    Bundle,
    /// Output of `bundle create`, `show` and `list` with `--json`, one or a list
    KeptBundle,
    /// Output of `bundle verify --json`
    BundleCheck,
    /// Output of `bundle diff --json`
    BundleDifference,
    /// Output of `recall --json`
    Recall,
    /// Output of `agents --json`
    Agents,
    /// Output of `agents list CATALOGUE --json`
    CatalogueAgents,
    /// Output of `agents search --json`
    FoundAgents,
    /// Output of `agents show --json`
    ShownAgent,
    /// Output of `agents add --json`
    AddedAgents,
    /// Output of `route --json`
    Route,
    /// Output of `route eval --json`
    RouteEval,
    /// Output of every command that changes something, with `--json`
    Done,
    /// What a failed command prints with `--json`
    Error,
}

/// `agentops agents`
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// What is to be done; default: list
    #[command(subcommand)]
    pub what: Option<AgentsCommand>,
}

/// What `agentops agents` can do.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// List what can be run: the repository's, yours, the built-in ones, and catalogues
    List {
        /// List every agent of this catalogue instead
        #[arg(value_name = "CATALOGUE")]
        catalogue: Option<Name>,
    },
    /// Find agents by words, over your own agents and all catalogues; best first
    Search(SearchArgs),
    /// Add a catalogue of agents or skills, or update it; it is data, and nothing of it runs
    Add(AddArgs),
    /// Remove a catalogue
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: Name,
    },
    /// Print one agent
    Show {
        /// Its label, or its name if no other has it
        #[arg(value_name = "LABEL")]
        agent: String,
    },
}

/// `agentops agents search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What the agent is for, in plain words
    #[arg(value_name = "WORDS", required = true)]
    pub words: Vec<String>,
    /// Maximum number of agents
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
}

/// `agentops agents add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// A folder, or the address of a git repository (https, ssh, file)
    #[arg(value_name = "DIR|URL")]
    pub source: String,
    /// The catalogue's name; default: the last part of the source
    #[arg(long)]
    pub name: Option<Name>,
    /// Take only this folder of the source
    #[arg(long, value_name = "DIR")]
    pub folder: Option<String>,
}

/// `agentops route`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RouteArgs {
    /// What else is to be done
    #[command(subcommand)]
    pub what: Option<RouteCommand>,
    /// The task, in plain words
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
    /// Read the task from a file; `-` is stdin
    #[arg(long, short, value_name = "FILE", conflicts_with = "task")]
    pub file: Option<PathBuf>,
    /// Requests from files, for measurements
    #[command(flatten)]
    pub batch: BatchArgs,
}

/// `agentops route --catalogue …`: a router of its own, which keeps nothing.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// Answer from this catalogue alone: JSON lines {"label", "description"}
    #[arg(long, value_name = "FILE", conflicts_with_all = ["task", "file"], requires = "input")]
    pub catalogue: Option<PathBuf>,
    /// Learn these requests first: JSON lines {"text", "label"}; may be said again
    #[arg(long, value_name = "FILE", requires = "catalogue")]
    pub train: Vec<PathBuf>,
    /// Measure on these how sure is how right, and learn nothing from them
    #[arg(long, value_name = "FILE", requires = "catalogue")]
    pub valid: Vec<PathBuf>,
    /// Then route and learn these one by one, as corrections come
    #[arg(long, value_name = "FILE", requires = "catalogue")]
    pub feedback: Option<PathBuf>,
    /// End that after so many of them went wrong
    #[arg(long, value_name = "N", requires = "feedback")]
    pub corrections: Option<usize>,
    /// The requests: JSON lines {"id", "text"}; `-` is stdin
    #[arg(long, value_name = "FILE", requires = "catalogue")]
    pub input: Option<PathBuf>,
}

/// What `agentops route` can do beside showing where a task would go.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Say where a task belongs; it is kept in git and learnt
    Correct(CorrectArgs),
    /// Measure it on held-back examples and on what was learnt
    Eval,
}

/// `agentops route correct`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("of").args(["task", "run"]).required(true))]
#[command(group = clap::ArgGroup::new("where").args(["agent", "workflow"]).required(true).multiple(true))]
pub struct CorrectArgs {
    /// The task, in plain words
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
    /// The task of this run
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunId>,
    /// The agent that is right: a label of `agentops agents`
    #[arg(long, value_name = "LABEL")]
    pub agent: Option<String>,
    /// The workflow that is right
    #[arg(long, short, value_name = "NAME")]
    pub workflow: Option<String>,
    /// Keep it even if held-back examples go wrong with it; it is not learnt then
    #[arg(long)]
    pub force: bool,
}

/// `agentops recall`
#[derive(Debug, Args)]
pub struct RecallArgs {
    /// What is looked for, in plain words
    #[arg(value_name = "QUERY", required_unless_present = "queries")]
    pub query: Option<String>,
    /// The most that the passages may take, in o200k tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 2000)]
    pub budget: u64,
    /// The most passages
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub limit: usize,
    /// Transcripts of this folder and those below it; default: the repository
    #[arg(long, value_name = "DIR", conflicts_with = "all")]
    pub project: Option<PathBuf>,
    /// Transcripts of all projects
    #[arg(long)]
    pub all: bool,
    /// Rank these turns (a file of JSON lines) or sessions (a folder of such files) instead
    #[arg(long, value_name = "FILE|DIR", requires = "queries")]
    pub corpus: Option<PathBuf>,
    /// Questions to rank the corpus for, as JSON lines; the answer is a JSON line for each
    #[arg(long, value_name = "FILE", requires = "corpus", conflicts_with = "query")]
    pub queries: Option<PathBuf>,
}

/// `agentops bundle`
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// What is to be done
    #[command(subcommand)]
    pub what: BundleCommand,
}

/// What `agentops bundle` can do.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Print the parts of a code repository that a task needs
    Code(CodeArgs),
    /// Print what an agent did, shorter
    Transcript(FileArgs),
    /// Print the output of a command, or a log, shorter
    Log(FileArgs),
    /// Print a conversation, or notes, shorter
    Conversation(FileArgs),
    /// Print a patch (a unified diff), shorter
    Patch(FileArgs),
    /// Print JSON, JSON lines or a table, shorter
    Data(FileArgs),
    /// Make a bundle of files and folders, and keep it in the repository
    Create(CreateArgs),
    /// Print a kept bundle
    Show(BundleArg),
    /// Compare kept bundles with their sources
    Verify(VerifyArgs),
    /// Compare two kept bundles
    Diff(DiffArgs),
    /// List the kept bundles
    List,
    /// Remove kept bundles that nothing needs; what is not committed stays
    Gc(GcArgs),
}

/// `agentops doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Give this repository the state of this id: it is the same repository, which lay elsewhere before
    #[arg(long, value_name = "ID")]
    pub adopt: Option<String>,
    /// Give this repository an id of its own, without runs: it is a copy of another one
    #[arg(long, conflicts_with = "adopt")]
    pub new_id: bool,
}

/// `agentops bundle code`
#[derive(Debug, Args)]
pub struct CodeArgs {
    /// The folder that is read
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub root: PathBuf,
    /// The task, in plain words
    #[arg(long, value_name = "TEXT", required_unless_present = "query_file", allow_hyphen_values = true)]
    pub task: Option<String>,
    /// Read the task from a file; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    pub query_file: Option<PathBuf>,
    /// The most that it may take, in o200k tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 8000)]
    pub budget: u64,
}

/// A file, compressed.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// The most that it may take, in o200k tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 8000)]
    pub budget: u64,
}

/// `agentops bundle create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Files and folders; a folder is read as code for the task
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What it is for, in plain words
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub task: String,
    /// The most that it may take, in o200k tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 8000)]
    pub budget: u64,
    /// Make it larger, up to four times the budget, until so much of the facts survives, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub keep: Option<u8>,
    /// The model that will read it: its tokens are shown as well
    #[arg(long)]
    pub model: Option<String>,
    /// A kept bundle that this one goes on from; may be given several times
    #[arg(long, value_name = "BUNDLE")]
    pub parent: Vec<BundleId>,
}

/// A kept bundle.
#[derive(Debug, Args)]
pub struct BundleArg {
    /// Its id
    #[arg(value_name = "BUNDLE")]
    pub bundle: BundleId,
}

/// `agentops bundle verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Their ids; default: all
    #[arg(value_name = "BUNDLE")]
    pub bundles: Vec<BundleId>,
}

/// `agentops bundle diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The older one
    #[arg(value_name = "BUNDLE")]
    pub old: BundleId,
    /// The newer one
    #[arg(value_name = "BUNDLE")]
    pub new: BundleId,
}

/// `agentops bundle gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Remove nothing; show what would go
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}
