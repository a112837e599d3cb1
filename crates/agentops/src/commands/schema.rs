//! `agentops schema`: the JSON Schemas of files and outputs, made from the types themselves.

use agentops_core::agent::FrontMatter;
use agentops_core::laws::{CloseOut, ReviewVerdict};
use agentops_core::workflow::raw::RawWorkflow;
use agentops_engine::files::config::Config;
use agentops_engine::files::user::UserConfig;
use agentops_engine::view::{RunView, StatusView};
use schemars::schema_for;

use crate::cli::{SchemaArgs, SchemaOf};
use crate::error::{self, CommandError};
use crate::printer::Printer;

/// `agentops schema`
pub fn schema(args: &SchemaArgs, printer: &Printer) -> Result<u8, CommandError> {
    printer.value(&match args.of {
        SchemaOf::Workflow => schema_for!(RawWorkflow),
        SchemaOf::Agent => schema_for!(FrontMatter),
        SchemaOf::Config => schema_for!(Config),
        SchemaOf::UserConfig => schema_for!(UserConfig),
        SchemaOf::CloseOut => schema_for!(CloseOut),
        SchemaOf::Verdict => schema_for!(ReviewVerdict),
        SchemaOf::Show => schema_for!(RunView),
        SchemaOf::Status => schema_for!(StatusView),
        SchemaOf::Trust => schema_for!(super::trust::TrustView),
        SchemaOf::DryRun => schema_for!(super::run::DryRun),
        SchemaOf::Doctor => schema_for!(super::doctor::DoctorView),
        SchemaOf::WithReport => schema_for!(super::gateway::WithReport),
        SchemaOf::Gateway => schema_for!(super::gateway::Line),
        SchemaOf::Bundle => schema_for!(super::bundle::BundleView),
        SchemaOf::KeptBundle => schema_for!(super::bundle::kept::KeptView),
        SchemaOf::BundleCheck => schema_for!(super::bundle::check::CheckView),
        SchemaOf::BundleDifference => schema_for!(super::bundle::kept::DifferenceView),
        SchemaOf::Recall => schema_for!(super::recall::RecallView),
        SchemaOf::Agents => schema_for!(super::agents::list::AgentsView),
        SchemaOf::CatalogueAgents => schema_for!(super::agents::list::CatalogueAgentsView),
        SchemaOf::FoundAgents => schema_for!(super::agents::search::FoundAgentsView),
        SchemaOf::ShownAgent => schema_for!(super::agents::ShownAgent),
        SchemaOf::AddedAgents => schema_for!(super::agents::add::AddedView),
        SchemaOf::Route => schema_for!(super::route::RouteView),
        SchemaOf::RouteEval => schema_for!(agentops_engine::routing::EvalView),
        SchemaOf::Logs => schema_for!(agentops_engine::world::Entry),
        SchemaOf::Done => schema_for!(crate::printer::Done),
        SchemaOf::Error => schema_for!(crate::printer::ErrorView),
    });
    Ok(error::SUCCESS)
}
