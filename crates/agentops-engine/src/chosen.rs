//! What a run is routed to, who decided it, and what else could have done it (law 5).
//!
//! A command decides before it asks the supervisor: it has the terminal. What it chose goes along with the request, the
//! supervisor checks the names as it checks all names, and a blob keeps the choice. Nothing here decides about trust.

use agentops_route::judge::{self, About, Judgement, QUICK, Unread};
use agentops_route::router::Decision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::files::profile::Places;
use crate::routing::{Routed, Routing, writers};

/// The workflow that is taken where nothing speaks for another one: it looks first and shows its plan.
pub const USUAL: &str = "full";

/// Most words that are named as the reason of a choice.
const BECAUSE_MAX: usize = 3;

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Routing, by itself.
    Auto,
    /// A person, when they were asked.
    You,
    /// A flag of the command.
    Flag,
    /// The repository's settings.
    Settings,
    /// Nobody: it is what is taken where nothing speaks for another.
    Default,
}

/// What was chosen for a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chosen {
    /// The workflow.
    pub workflow: String,
    /// Who decided that.
    pub workflow_by: By,
    /// What in the task speaks for it, in a few words; empty where routing did not decide.
    pub because: Vec<String>,
    /// What in the task is risky, in plain words.
    pub risks: Vec<String>,
    /// The agent for phases that change files; absent: the workflow's own.
    pub agent: Option<String>,
    /// Who decided that.
    pub agent_by: By,
    /// Agents that the workflow's file names for those phases.
    pub own: Vec<String>,
    /// All that routing found: what else could have done it, and why.
    pub routed: Routed,
}

/// What is fixed before anything is routed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The workflow of a flag.
    pub workflow: Option<&'a str>,
    /// The workflow of the settings.
    pub usual: Option<&'a str>,
    /// The agent of a flag.
    pub agent: Option<&'a str>,
}

impl Chosen {
    /// Routes a task and chooses what needs no question. A flag wins, then the settings, then routing.
    ///
    /// # Errors
    /// A folder or file of the repository's or the user's own cannot be read.
    pub fn of(places: &Places, routing: &Routing, task: &str, wanted: Wanted<'_>) -> Result<Self, FileError> {
        let routed = routing.route(task);
        let (workflow, workflow_by) = match (wanted.workflow, wanted.usual) {
            (Some(flag), _) => (flag, By::Flag),
            (None, Some(usual)) => (usual, By::Settings),
            (None, None) => match routed.workflow.name.as_deref() {
                Some(QUICK) if !routed.workflow.risky => (QUICK, By::Auto),
                Some(USUAL) => (USUAL, By::Auto),
                // One of the repository's or the user's own is shown and never taken by itself.
                _ => (USUAL, By::Default),
            },
        };
        // One that is missing or cannot be read is told by the plan.
        let own = writers(places, workflow)?.into_iter().collect();
        let judgement = judge::judge(task);
        let mut chosen = Self {
            workflow: workflow.to_owned(),
            workflow_by,
            because: if workflow_by == By::Auto { because(&judgement, workflow) } else { Vec::new() },
            risks: judgement.reasons.iter().filter(|reason| is_risk(reason)).map(ToString::to_string).collect(),
            agent: wanted.agent.map(str::to_owned),
            agent_by: if wanted.agent.is_some() { By::Flag } else { By::Default },
            own,
            routed,
        };
        if chosen.routed.agent.decision == Decision::Auto
            && let (true, Some(first)) = (chosen.is_open(), chosen.routed.agent.ranked.first())
        {
            let label = first.label.clone();
            chosen.take(&label, By::Auto);
        }
        Ok(chosen)
    }

    /// Takes an agent.
    pub fn take(&mut self, label: &str, by: By) {
        self.agent = (!self.is_own(label)).then(|| label.to_owned());
        self.agent_by = by;
    }

    /// Whether a label is the workflow's own agent.
    #[must_use]
    pub fn is_own(&self, label: &str) -> bool {
        matches!(&self.own[..], [own] if own == label)
    }

    /// Whether agents are to be chosen from: nobody decided, there is another one, and the workflow has one place for it. Where
    /// several agents of a workflow change files, each has its part, and none takes the place of all of them unasked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.agent_by == By::Default && self.own.len() == 1 && self.has_others()
    }

    /// Whether there is an agent beside the workflow's own.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.routed.agent.ranked.iter().any(|ranked| !self.is_own(&ranked.label))
    }

    /// The agent that is worth a question: likely, and not the one that would work anyway.
    #[must_use]
    pub fn suggested(&self) -> Option<&str> {
        let first = self.routed.agent.ranked.first().map(|first| first.label.as_str())?;
        let likely = self.routed.agent.decision == Decision::Suggest;
        (likely && self.is_open() && !self.is_own(first)).then_some(first)
    }

    /// How likely the workflow that was taken fits; `None`: routing does not know it.
    #[must_use]
    pub fn likely(&self) -> Option<f64> {
        self.routed.workflow.chances.iter().find(|chance| chance.name == self.workflow).map(|chance| chance.likely)
    }

    /// As a run keeps it: without what agents that do not take part say of themselves. Their labels are enough to look them up.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.routed.agent.ranked.iter_mut().for_each(|ranked| ranked.description.clear());
        self
    }
}

fn is_risk(reason: &judge::Reason) -> bool {
    matches!(reason.about, About::Risk(_))
}

/// What speaks for a workflow: a risk and what could not be read speak for the usual one, as does all that makes work large.
fn because(judgement: &Judgement, workflow: &str) -> Vec<String> {
    let short = workflow == QUICK;
    let mut because: Vec<String> = Vec::new();
    for reason in &judgement.reasons {
        let quoted = || reason.words.split(", ").map(|word| format!("\"{word}\"")).collect();
        let words: Vec<String> = match reason.about {
            About::Size(what) if (reason.weight > 0.0) == short => {
                if reason.words.is_empty() {
                    vec![what.to_owned()]
                } else {
                    quoted()
                }
            }
            About::Risk(_) if !short => vec!["it is risky".into()],
            About::Unread(Unread::Empty) if !short => vec!["it has no words".into()],
            About::Unread(Unread::OnlyCode) if !short => vec!["it is only code".into()],
            About::Unread(Unread::NotEnglish) if !short => vec!["it is hardly English".into()],
            _ => Vec::new(),
        };
        for word in words {
            if because.len() < BECAUSE_MAX && !because.contains(&word) {
                because.push(word);
            }
        }
    }
    because
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::profile::BUILT_IN_AGENTS;
    use crate::routing::roles;
    use crate::routing::{RankedAgent, RoutedAgent, RoutedWorkflow, WorkflowChance};

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = crate::paths::Home { config: folder.path().join("config"), state: folder.path().join("state") };
        let places = Places::of(Some(&folder.path().join("repo")), &home);
        (folder, places)
    }

    fn chosen(task: &str, wanted: Wanted<'_>) -> Chosen {
        let (_folder, places) = places();
        let routing = Routing::open(&places, &roles(&places).expect("roles")).expect("routing");
        Chosen::of(&places, &routing, task, wanted).expect("a choice")
    }

    /// A choice between the workflow's own agent and others, likeliest first.
    fn between(decision: Decision, own: &[&str], labels: &[&str]) -> Chosen {
        let ranked = |label: &&str| RankedAgent {
            label: (*label).into(),
            description: "Says much of itself.".into(),
            likely: 0.5,
            words: Vec::new(),
            like: Vec::new(),
        };
        let agent = RoutedAgent {
            decision,
            confidence: 0.5,
            in_scope: 0.9,
            ranked: labels.iter().map(ranked).collect(),
            evidence: 0,
        };
        let chances = vec![WorkflowChance { name: "full".into(), likely: 0.7 }];
        let workflow = RoutedWorkflow { name: Some("full".into()), chances, risky: false, reasons: Vec::new() };
        Chosen {
            workflow: "full".into(),
            workflow_by: By::Auto,
            because: Vec::new(),
            risks: Vec::new(),
            agent: None,
            agent_by: By::Default,
            own: own.iter().map(|name| (*name).to_owned()).collect(),
            routed: Routed { agent, workflow },
        }
    }

    #[test]
    fn only_who_changes_files_and_reviews_nothing_is_a_candidate() {
        let (_folder, places) = places();
        let roles: Vec<String> = roles(&places).expect("roles").iter().map(ToString::to_string).collect();
        assert_eq!(roles, ["close-out", "plan", "research", "review"]);
        assert_eq!(roles.len() + 1, BUILT_IN_AGENTS.len());
    }

    #[test]
    fn the_built_in_agent_alone_leaves_no_choice() {
        let chosen = chosen("write playwright tests for the login", Wanted::default());
        assert_eq!(chosen.own, ["implement"]);
        assert!(!chosen.has_others() && !chosen.is_open() && chosen.suggested().is_none());
        assert_eq!((chosen.agent, chosen.agent_by), (None, By::Default));
    }

    #[test]
    fn whatever_is_risky_or_cannot_be_read_is_never_short_by_itself() {
        for task in
            ["fix the typo in prod and drop the users table", "delete all accounts", "", "```\nx = 1\n```", "修复拼写错误"]
        {
            let chosen = chosen(task, Wanted::default());
            assert_eq!(chosen.workflow, "full", "{task}");
            assert_eq!(chosen.risks.is_empty(), !chosen.routed.workflow.risky, "{task}");
            assert!(chosen.because.first().is_some_and(|why| why.starts_with("it ")), "{task}: {:?}", chosen.because);
        }
        let flag = Wanted { workflow: Some("quick"), ..Wanted::default() };
        let by_flag = chosen("delete all accounts", flag);
        assert_eq!((by_flag.workflow.as_str(), by_flag.workflow_by), ("quick", By::Flag), "a flag wins");
        assert!(!by_flag.risks.is_empty(), "and hides nothing");
    }

    #[test]
    fn a_workflow_that_is_not_there_is_kept_for_the_plan_to_refuse() {
        let wanted = Wanted { usual: Some("none-such"), ..Wanted::default() };
        let chosen = chosen("fix the typo", wanted);
        assert_eq!((chosen.workflow.as_str(), chosen.workflow_by), ("none-such", By::Settings));
        assert!(chosen.own.is_empty() && !chosen.is_open());
    }

    #[test]
    fn a_question_is_for_what_is_likely_and_would_not_work_anyway() {
        let suggests = |decision, own: &[&str], labels: &[&str]| between(decision, own, labels).suggested().is_some();
        assert!(suggests(Decision::Suggest, &["own"], &["other", "own"]));
        assert!(!suggests(Decision::Suggest, &["own"], &["own", "other"]), "it works anyway");
        assert!(!suggests(Decision::Suggest, &["own", "second"], &["other"]), "two have a part each");
        assert!(!suggests(Decision::Suggest, &["own"], &[]));
        for decision in [Decision::Auto, Decision::Ask, Decision::Abstain] {
            assert!(!suggests(decision, &["own"], &["other", "own"]), "{decision:?}");
        }
        let mut chosen = between(Decision::Suggest, &["own"], &["other", "own"]);
        chosen.take("other", By::You);
        assert_eq!((chosen.agent.as_deref(), chosen.agent_by), (Some("other"), By::You));
        assert!(chosen.suggested().is_none(), "it is not asked twice");
        chosen.take("own", By::You);
        assert_eq!((chosen.agent.as_deref(), chosen.agent_by), (None, By::You));
        let kept = serde_json::to_string(&chosen.kept()).expect("JSON");
        assert!(kept.contains("\"other\"") && !kept.contains("Says much"), "{kept}");
    }
}
