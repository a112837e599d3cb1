//! What holds for every compressor whatever it reads.

use agentops_bundle::kind::Kind;
use agentops_bundle::mixed;
use agentops_bundle::source_text::SourceText;
use agentops_safe::Redactor;
use agentops_text::tokens::text_tokens;

const KINDS: [Kind; 7] = [Kind::Transcript, Kind::Log, Kind::Diff, Kind::Table, Kind::Json, Kind::Conversation, Kind::Notes];

/// Compresses the text after the first two bytes: one says as what, one to which budget. Panics where something does not hold.
pub fn check(data: &[u8]) {
    let [kind, budget, text @ ..] = data else { return };
    let kind = match usize::from(*kind) % (KINDS.len() + 1) {
        told if told == KINDS.len() => Kind::of(text),
        named => KINDS[named],
    };
    let budget = u64::from(*budget) * 4;
    let source = SourceText::read(text, &Redactor::new([]));
    let Ok(made) = mixed::of_source(kind, &source, budget) else { return };
    assert!(made.after <= budget, "{kind:?}: {} of {budget}", made.after);
    assert_eq!(made.after, text_tokens(&made.text), "{kind:?}");
    let again = mixed::of_source(kind, &source, budget).expect("it was compressed before");
    assert!(again == made, "the same source gives the same bytes");
    let fidelity = made.fidelity();
    let total: u64 = fidelity.classes.iter().map(|score| score.total).sum();
    let weights: u64 = made.facts.iter().map(|fact| u64::from(fact.weight)).sum();
    assert_eq!(total, weights, "every fact is in its class");
    let is_complete = fidelity.coverage.is_none_or(|coverage| coverage.is_complete());
    assert!(is_complete == fidelity.omitted.is_empty(), "what is not shown is named: {:?}", fidelity.omitted);
}
