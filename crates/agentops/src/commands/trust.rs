//! `agentops trust`: what a repository would run, and agreeing to it.

use std::collections::BTreeMap;

use agentops_engine::plan::{self, RunRequest};
use agentops_engine::trust::{Subject, Trusted};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{TrustArgs, TrustWhat};
use crate::context::Context;
use crate::error::{self, CommandError};
use crate::printer::{Done, Printer};

/// Trust as it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TrustView {
    /// Whether the repository is trusted as it is now.
    trusted: bool,
    /// What would run, and its hash.
    subject: Subject,
    /// Names of variables of your environment that agents, gates and set-up programs do not get.
    withheld: Vec<String>,
    /// Names of variables that look like secrets and reach an agent's program all the same, by agent.
    held: BTreeMap<String, Vec<String>>,
}

/// `agentops trust`
pub fn trust(context: &Context, args: &TrustArgs, printer: &Printer) -> Result<u8, CommandError> {
    let file = context.home.trust_file();
    let mut trusted = Trusted::read(&file)?;
    match args.what.unwrap_or(TrustWhat::Show) {
        TrustWhat::Revoke => {
            super::person_only()?;
            let had = trusted.revoke(context.repo.id());
            trusted.write(&file)?;
            let did = if had { "trust taken back" } else { "it was not trusted" };
            printer.done(&Done { did: did.into(), ..Done::default() });
        }
        TrustWhat::Show => {
            let plan::Plan { subject, withheld, agents, .. } = planned(context, args)?;
            let held = agents.into_iter().map(|(name, agent)| (name.to_string(), agent.held));
            let held = held.filter(|(_, names)| !names.is_empty()).collect();
            let trusted = trusted.covers(context.repo.id(), &subject.hash);
            let view = TrustView { trusted, subject, withheld, held };
            if printer.json() {
                printer.value(&view);
            } else {
                let word = if view.trusted { "trusted" } else { "not trusted; agree with: agentops trust add" };
                printer.data(&format!("{}{}\nhash {}\n{word}", lines(&view.subject), keys(&view), view.subject.hash));
            }
        }
        TrustWhat::Add => {
            super::person_only()?;
            let context = &context.claim()?;
            let subject = planned(context, args)?.subject;
            printer.note(&lines(&subject));
            trusted.add(context.repo.id(), context.repo.work_tree(), &subject.hash);
            trusted.write(&file)?;
            let undo = Some("agentops trust revoke".to_owned());
            printer.done(&Done { did: format!("trusted as it is now: {}", subject.hash), undo, ..Done::default() });
        }
    }
    Ok(error::SUCCESS)
}

/// What trust would cover now. Looks, and starts nothing but the agent programs' `--version`.
fn planned(context: &Context, args: &TrustArgs) -> Result<plan::Plan, CommandError> {
    let request = RunRequest {
        task: "trust".into(),
        workflow: args.workflow.clone(),
        agent: args.agent.clone(),
        driver: args.driver.clone(),
        ..RunRequest::default()
    };
    let (_folder, blobs) = context.throwaway_blobs()?;
    Ok(plan::plan(&context.repo, &context.home, &blobs, &context.lent().variables, &request)?)
}

/// Which variables reach whom, for people.
fn keys(view: &TrustView) -> String {
    let mut text = String::new();
    for (agent, names) in &view.held {
        text.push_str(&format!(
            "  {:<24} {agent:<28} {}\n",
            "variables it gets",
            agentops_safe::inert_line(&names.join(", "), 400)
        ));
    }
    if !view.withheld.is_empty() {
        let names = agentops_safe::inert_line(&view.withheld.join(", "), 1000);
        text.push_str(&format!("  {:<24} {names}\n", "variables withheld"));
    }
    text
}

/// The items for people, those that are used first.
pub fn lines(subject: &Subject) -> String {
    let mut text = String::new();
    for item in subject.items.iter().filter(|item| item.used) {
        let what = agentops_safe::inert_line(&item.what, 160);
        text.push_str(&format!("  {:<24} {:<28} {what}\n", item.kind, agentops_safe::inert_line(&item.place, 60)));
    }
    let off: Vec<_> =
        subject.items.iter().filter(|item| !item.used).map(|item| agentops_safe::inert_line(&item.place, 60)).collect();
    if !off.is_empty() {
        text.push_str(&format!("  {:<24} {}\n", "stays off", off.join(", ")));
    }
    text
}
