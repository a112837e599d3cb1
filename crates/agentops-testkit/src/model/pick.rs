//! Which turn a request gets. Everything is read from the request, so the server holds no session.

use super::record::Served;
use super::request::{Request, Role};
use super::script::{Conversation, Growth, Lie, Reaction, Script, Turn, TurnUsage, UsageNumbers, at};

/// More than any window.
const HUGE: i64 = 9_000_000_000;

/// What no count can be.
const NEGATIVE: i64 = -5_000;

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pick {
    pub(super) served: Served,
    /// The `when` of the conversation; `None` for the default, and when nothing fits.
    pub(super) conversation: Option<String>,
    /// How many model messages the request holds.
    pub(super) turn_index: usize,
    pub(super) turn: Turn,
    /// What to report.
    pub(super) usage: Report,
}

/// What the answer says about usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// There is no such field.
    Omit,
    /// The field is `null`.
    Null,
    /// These numbers.
    Numbers(Counts),
}

/// [`UsageNumbers`] as they are reported: a lie may be negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) input: i64,
    pub(super) cache_read: i64,
    pub(super) cache_write: i64,
    pub(super) output: i64,
}

impl Counts {
    /// The input as the protocols count it that include the cache in it.
    pub(super) fn all_input(self) -> i64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

impl From<UsageNumbers> for Counts {
    fn from(numbers: UsageNumbers) -> Self {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            input: signed(numbers.input),
            cache_read: signed(numbers.cache_read),
            cache_write: signed(numbers.cache_write),
            output: signed(numbers.output),
        }
    }
}

/// Chooses the turn for a request.
pub(super) fn pick(script: &Script, request: &Request) -> Pick {
    let turn_index = request.model_messages();
    if request.side() {
        let turn = Turn::text(script.side_text.clone());
        let usage = reported(&turn, script.usage, 0);
        return Pick { served: Served::Side, conversation: None, turn_index, turn, usage };
    }
    let opening = request.opening();
    let named = script.conversations.iter().find(|conversation| opening.contains(&conversation.when));
    let Some(conversation) = named.or(script.default.as_ref()) else {
        let turn = Turn::text("The script has no conversation for this request.");
        let usage = reported(&turn, script.usage, turn_index);
        return Pick { served: Served::Unmatched, conversation: None, turn_index, turn, usage };
    };
    let (served, turn) = match reaction(conversation, request) {
        Some((says, index, turn)) => (Served::Reaction { says, index }, turn),
        None => (
            Served::Turn { index: turn_index.min(conversation.turns.len().saturating_sub(1)) },
            at(&conversation.turns, turn_index),
        ),
    };
    let turn = turn.cloned().unwrap_or_default();
    let usage = reported(&turn, conversation.usage.unwrap_or(script.usage), turn_index);
    Pick { served, conversation: named.map(|conversation| conversation.when.clone()), turn_index, turn, usage }
}

/// The reaction to the latest message that calls for one.
fn reaction<'a>(conversation: &'a Conversation, request: &Request) -> Option<(String, usize, Option<&'a Turn>)> {
    let called_for = |text: &str| conversation.on.iter().find(|reaction| text.contains(&reaction.says));
    let turn = |reaction: &'a Reaction, after| Some((reaction.says.clone(), after, at(&reaction.turns, after)));
    let mut model_messages_after = 0;
    let first_model = request.messages.iter().position(|message| message.role == Role::Model);
    for message in request.messages[first_model.unwrap_or(0)..].iter().rev() {
        match message.role {
            Role::Model => model_messages_after += 1,
            Role::User if first_model.is_some() => {
                if let Some(reaction) = called_for(&message.text) {
                    return turn(reaction, model_messages_after);
                }
            }
            Role::User | Role::System => {}
        }
    }
    let early = request.typed_after_task().into_iter().rev().find_map(called_for)?;
    turn(early, model_messages_after)
}

fn reported(turn: &Turn, growth: Growth, turn_index: usize) -> Report {
    if turn.omit_usage {
        return Report::Omit;
    }
    let alike = |count| Counts { input: count, output: count, ..Counts::default() };
    Report::Numbers(match turn.usage {
        Some(TurnUsage::Numbers(numbers)) => numbers.into(),
        Some(TurnUsage::Lie(Lie::None)) => return Report::Null,
        Some(TurnUsage::Lie(Lie::Zero)) => Counts::default(),
        Some(TurnUsage::Lie(Lie::Huge)) => alike(HUGE),
        Some(TurnUsage::Lie(Lie::Negative)) => alike(NEGATIVE),
        None => {
            let steps = u64::try_from(turn_index).unwrap_or(u64::MAX);
            let input = growth.base.saturating_add(growth.step.saturating_mul(steps));
            UsageNumbers { input, output: growth.output, ..UsageNumbers::default() }.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn script() -> Script {
        Script::parse(
            r#"{"conversations": [{"when": "PLAN", "usage": {"base": 10, "step": 5},
                "turns": [{"text": "one"}, {"text": "two", "usage": "zero"}],
                "on": [{"says": "HAND OVER", "turns": [{"text": "wrote it"}, {"text": "bye"}]}]}]}"#,
        )
        .unwrap()
    }

    fn ask(messages: serde_json::Value) -> Pick {
        pick(&script(), &Request::messages(&json!({"tools": [{"name": "Bash"}], "messages": messages})))
    }

    fn numbers(pick: &Pick) -> Counts {
        match pick.usage {
            Report::Numbers(numbers) => numbers,
            other => panic!("{other:?}"),
        }
    }

    fn text(pick: &Pick) -> &str {
        pick.turn.text.as_deref().unwrap()
    }

    #[test]
    fn the_turn_follows_from_the_model_messages_and_the_last_is_repeated() {
        let user = json!({"role": "user", "content": "PLAN this"});
        let model = json!({"role": "assistant", "content": "x"});
        let first = ask(json!([user]));
        assert_eq!((text(&first), numbers(&first).input), ("one", 10));
        let second = ask(json!([user, model, user]));
        assert_eq!((text(&second), numbers(&second)), ("two", Counts::default()));
        let third = ask(json!([user, model, user, model, user]));
        assert_eq!((text(&third), third.turn_index, &third.served), ("two", 2, &Served::Turn { index: 1 }));
    }

    #[test]
    fn a_reaction_goes_first_and_counts_from_the_message_that_called_for_it() {
        let user = json!({"role": "user", "content": "PLAN this"});
        let model = json!({"role": "assistant", "content": "x"});
        let hand_over = json!({"role": "user", "content": [{"type": "tool_result", "content": "ok HAND OVER now"}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "content": "written"}]});
        assert_eq!(text(&ask(json!([user, model, hand_over]))), "wrote it");
        assert_eq!(text(&ask(json!([user, model, hand_over, model, result]))), "bye");
        assert_eq!(text(&ask(json!([user, model, hand_over, model, result, model, result]))), "bye");
    }

    #[test]
    fn the_first_user_message_calls_for_no_reaction() {
        assert_eq!(text(&ask(json!([{"role": "user", "content": "PLAN: you may have to HAND OVER later"}]))), "one");
    }

    #[test]
    fn what_is_said_while_the_first_call_runs_calls_for_a_reaction() {
        let parts = |texts: &[&str]| {
            let blocks: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
            json!({"role": "user", "content": blocks})
        };
        let task = ["<system-reminder>HAND OVER</system-reminder>", "PLAN, and later HAND OVER"];
        assert_eq!(text(&ask(json!([parts(&task)]))), "one");
        assert_eq!(text(&ask(json!([parts(&task), parts(&["HAND OVER"])]))), "wrote it");
        let model = json!({"role": "assistant", "content": "x"});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "content": "written"}]});
        assert_eq!(text(&ask(json!([parts(&task), parts(&["HAND OVER"]), model, result]))), "bye");
    }

    #[test]
    fn a_request_without_tools_is_aside_and_one_that_fits_nothing_says_so() {
        let aside = Request::messages(&json!({"messages": [{"role": "user", "content": "PLAN title"}]}));
        assert_eq!(pick(&script(), &aside).served, Served::Side);
        assert_eq!(ask(json!([{"role": "user", "content": "other"}])).served, Served::Unmatched);
    }
}
