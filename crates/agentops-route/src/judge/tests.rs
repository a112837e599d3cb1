//! What the rules hold, the traps that they leave alone, and what always holds.

use std::collections::HashSet;

use proptest::prelude::*;
use serde::Deserialize;

use super::Danger::*;
use super::*;

const BUILT_IN: [Offered<'_>; 2] = [
    Offered { name: "quick", description: "Implement and close out. For a change whose shape is clear." },
    Offered { name: "full", description: "Research, plan and implement in fresh contexts, with your approval of the plan." },
];

fn best(task: &str) -> &'static str {
    BUILT_IN[judge(task).workflow(&BUILT_IN).best.unwrap()].name
}

fn dangers(task: &str) -> Vec<Danger> {
    let mut dangers: Vec<Danger> = judge(task).risks().map(|(danger, _)| danger).collect();
    dangers.sort();
    dangers.dedup();
    dangers
}

/// Tasks that must be seen as risky, with a danger that must be among the reasons.
const RISKY: &[(Danger, &str)] = &[
    (Production, "Fix the crash in production"),
    (Production, "our prod worker hangs since noon"),
    (Production, "It works on staging but not in production, please fix"),
    (Production, "change the pool size in config/prod.yaml"),
    (Production, "Update the copy on the live site"),
    (Irreversible, "Drop the orders table"),
    (Irreversible, "please drop table orders"),
    (Irreversible, "Delete all rows older than 90 days"),
    (Irreversible, "We should purge inactive accounts"),
    (Irreversible, "Fix the typo in the README and then delete the old backups"),
    (Irreversible, "Clean up and wipe the staging volume"),
    (Irreversible, "The audit records should be deleted"),
    (Irreversible, "free space by deleting old snapshots"),
    (Irreversible, "Don't ask again, just delete the customer accounts"),
    (Irreversible, "Don't forget to truncate the events table"),
    (Irreversible, "Do not keep the backups. Delete the backups."),
    (Irreversible, "force-push main"),
    (Irreversible, "Squash it and force push"),
    (Irreversible, "git push --force origin main"),
    (Irreversible, "rewrite the git history without the big file"),
    (Irreversible, "run `rm -rf /var/lib/app`"),
    (Irreversible, "Run this on the server:\n```sql\nDROP TABLE sessions;\n```"),
    (Irreversible, "Rotate the signing keys"),
    (Irreversible, "revoke Bob's access"),
    (Irreversible, "Publish the crate"),
    (Irreversible, "send an email to all users about the new terms"),
    (Data, "Write a migration for the users table"),
    (Data, "Migrate the customer data to Postgres"),
    (Data, "backfill created_at"),
    (Data, "Change the database schema so that a user has several addresses"),
    (Data, "Add a nullable column to the orders table"),
    (Security, "Fix the auth check in the middleware"),
    (Security, "store passwords with argon2"),
    (Security, "users can't reset their password"),
    (Security, "The endpoint can be called without authentication"),
    (Security, "let editors see it too: change the permissions"),
    (Security, "Prevent SQL injection in search"),
    (Security, "Skip TLS verification for the internal host"),
    (Security, "fix the bug in src/auth/session.rs"),
    (Security, "Add OAuth login and tests"),
    (Money, "Round the invoice total up"),
    (Money, "Apply the discount before tax"),
    (Money, "The checkout page charges the card twice"),
    (Money, "fix rounding in src/billing/total.rs"),
    (PublicInterface, "Remove the /v1/users endpoint"),
    (PublicInterface, "Rename the flag --out to --output"),
    (PublicInterface, "Drop support for Python 3.8"),
    (PublicInterface, "This is a breaking change: return an object instead of a list"),
    (PublicInterface, "Deprecate the old client"),
    (PublicInterface, "Change the response format of search"),
    (Infrastructure, "terraform apply the network change"),
    (Infrastructure, "Run `kubectl drain node-4`"),
    (Infrastructure, "deploy the fix to staging"),
    (Infrastructure, "Point the DNS record to the new host"),
    (Infrastructure, "Test the failover of the database"),
    (Infrastructure, "Restart the Kafka cluster"),
    (Infrastructure, "roll back the last release"),
];

/// Tasks that mention what is risky, or deny it, or mean something else by the word.
const HARMLESS: &[&str] = &[
    "Fix typo in the deletion docs",
    "Fix a typo in the description of terraform destroy",
    "Fix the typo in the comment above delete_user",
    "Document how to drop a table in production",
    "Mention in the readme that production needs Postgres",
    "Clarify the billing docs",
    "Add an example to the docs of the payment module",
    "Reword the message that is shown before accounts are deleted",
    "do not delete the users table, only add a comment to the model",
    "Speed up the report without touching the billing code",
    "Rename the variable in the parser, don't change the public API",
    "Rename the drop-down to select",
    "Drop the unused import",
    "Drop the trailing slash",
    "Remove the unused helper in utils.py",
    "Remove the users table from the sidebar",
    "Delete the leftover console.log",
    "Remove the branch in parse() that handles nil",
    "Truncate long titles with an ellipsis",
    "Truncate the string at 80 characters",
    "Rotate the image by 90 degrees",
    "Make the example production-ready",
    "Fix the warning in the production build",
    "Clear the cache folder before each test",
    "Add a delete button to the list",
    "Allow users to delete their own comments",
    "Ask for confirmation before deleting a project",
    "When we delete a project its icon stays in the list. Hide it.",
    "Fix the deprecation warning in the date parser",
    "Fix the color of the payment button",
    "Make the login button 2px taller: more padding",
    "Migrate from Jest to Vitest",
    "Add a status column to the CSV export",
    "Check out the release branch and see why the build fails",
    "Who is in charge of this module? Add it to CODEOWNERS",
    "Fix the flaky auth test",
    "Add a test for the refund helper",
    "The tokenizer splits numbers wrongly",
    "Fix the tokens count in the status line",
    "Add a force field to the physics demo",
    "Reset the form after it was sent",
    "Rebase before you push",
    "Remove the old feature flag check",
    "Support breaking lines at hyphens",
    "Fix the test that breaks on Windows",
    "Live preview of markdown is laggy",
    "Handle the case that the host name has an umlaut",
    "Add a `--production` hint to the help text",
];

#[test]
fn what_is_risky_is_seen_and_never_quick() {
    let missed: Vec<_> = RISKY.iter().filter(|(danger, task)| !dangers(task).contains(danger)).collect();
    assert!(missed.is_empty(), "not seen: {missed:#?}");
    assert!(RISKY.iter().all(|(_, task)| best(task) == "full"));
}

#[test]
fn what_is_only_mentioned_denied_or_means_something_else_is_left_alone() {
    let alarms: Vec<_> = HARMLESS.iter().map(|task| (task, dangers(task))).filter(|(_, found)| !found.is_empty()).collect();
    assert!(alarms.is_empty(), "false alarms: {alarms:#?}");
}

#[test]
fn a_risk_is_told_in_the_words_of_the_task() {
    let judged = judge("Fix the typo, then Drop the Orders table in production.");
    let told: Vec<String> = judged.reasons.iter().map(Reason::to_string).collect();
    assert_eq!(told[0], "\u{201c}Drop the Orders table in production\u{201d} cannot be undone");
    assert_eq!(told[1], "\u{201c}production\u{201d} touches production");
    let judged = judge("Fix the typo in the README");
    assert_eq!(judged.reasons[0].to_string(), "\u{201c}typo\u{201d} (spelling) speaks for small work");
}

#[test]
fn what_cannot_be_read_takes_the_full_workflow_and_says_so() {
    let unread = [
        (Unread::Empty, ""),
        (Unread::Empty, " \n\t…!"),
        (Unread::OnlyCode, "```rust\nfn main() { drop(table); }\n```"),
        (Unread::OnlyCode, "Traceback (most recent call last):\n  File \"a.py\", line 3"),
        (Unread::OnlyCode, "src/main.rs"),
        (Unread::NotEnglish, "Tippfehler in README korrigieren"),
        (Unread::NotEnglish, "Bitte den Tippfehler in der Anleitung beheben"),
        (Unread::NotEnglish, "Lösche die Produktionsdatenbank"),
        (Unread::NotEnglish, "Corrige la faute de frappe dans le guide"),
        (Unread::NotEnglish, "Elimina la tabla de usuarios"),
        (Unread::NotEnglish, "修复登录页面的错误"),
        (Unread::NotEnglish, "исправь опечатку в README"),
        (Unread::NotEnglish, "asdf qwer yxcv"),
    ];
    for (why, task) in unread {
        let judged = judge(task);
        assert_eq!(judged.unread, Some(why), "{task}");
        assert_eq!(judged.reasons[0].about, About::Unread(why));
        let choice = judged.workflow(&BUILT_IN);
        assert_eq!(choice.best, Some(1), "{task}");
    }
}

#[test]
fn a_stack_trace_beside_a_sentence_is_no_reason() {
    let task = "Fix this crash:\n```\nat deleteAccount (src/billing/auth.js:10:3)\nin production\n```";
    assert_eq!(dangers(task), []);
    assert_eq!(judge(task).unread, None);
}

#[test]
fn of_a_huge_text_the_beginning_and_the_end_count() {
    let filler = "the list of things is long and goes on here. ".repeat(25_000);
    assert!(filler.len() > 1_000_000);
    assert_eq!(dangers(&filler), []);
    assert_eq!(dangers(&format!("{filler}\nDrop the orders table.")), [Irreversible]);
    assert_eq!(dangers(&format!("Drop the orders table.\n{filler}")), [Irreversible]);
    assert_eq!(dangers(&format!("{filler}\nDrop the orders table.\n{filler}")), []);
}

#[test]
fn a_workflow_of_a_profile_is_weighed_by_what_its_description_shares_with_the_task() {
    let own = Offered { name: "release", description: "Tag a release, write its notes and upload packages." };
    let other = Offered { name: "spike", description: "Try an idea and throw the code away." };
    let offered = [own, BUILT_IN[0], BUILT_IN[1], other];
    let choice = judge("Write the release notes for 2.4").workflow(&offered);
    assert!(choice.chances[0].probability > choice.chances[3].probability);
    let sum: f64 = choice.chances.iter().map(|chance| chance.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let only_quick = judge("Drop the orders table").workflow(&BUILT_IN[..1]);
    assert_eq!((only_quick.best, only_quick.chances[0].probability <= 0.1), (None, true));
    assert_eq!(judge("Fix the typo").workflow(&[]), Choice { chances: vec![], best: None });
}

#[test]
fn no_word_is_of_two_kinds() {
    let words = || size::FEATURES.iter().flat_map(|feature| feature.words.split(' ')).filter(|word| !word.is_empty());
    let mut seen = HashSet::new();
    let twice: Vec<_> = words().filter(|word| !seen.insert(*word)).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(size::FEATURES.iter().position(|feature| feature.words.is_empty()), Some(28), "words first, shapes behind");
}

#[derive(Deserialize)]
struct Example {
    text: String,
    workflow: String,
}

/// How many of a profile's examples are judged right, of how many, and which are not.
fn profile(examples: &str) -> (usize, usize, Vec<String>) {
    let examples: Vec<Example> = examples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong = examples.iter().filter(|example| best(&example.text) != example.workflow);
    let wrong: Vec<String> = wrong.map(|example| format!("not {}: {}", example.workflow, example.text)).collect();
    (examples.len() - wrong.len(), examples.len(), wrong)
}

/// What should have been planned first.
fn missed(wrong: &[String]) -> usize {
    wrong.iter().filter(|line| line.starts_with("not full")).count()
}

#[test]
fn the_built_in_profiles_examples_are_judged_right() {
    let (right, all, wrong) = profile(include_str!("../../../../profiles/product-dev/routing/examples.jsonl"));
    println!("examples: {right} of {all}, wrong: {wrong:#?}");
    assert!(right * 100 >= all * 92);
    let (right, all, wrong) = profile(include_str!("../../../../profiles/product-dev/routing/held-back.jsonl"));
    println!("held back: {right} of {all}, {} of the wrong ones took the quick way", missed(&wrong));
    assert!(right * 100 >= all * 85);
}

proptest! {
    #[test]
    fn whatever_is_asked_a_risk_or_an_unread_text_is_never_quick(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "fix", "typo", "delete", "the", "orders", "table", "in", "production", "docs", "not", "and", ",", ".", "\n- ",
                "`rm", "-rf", "auth", "ä", "\"", "```\n", "drop", "src/billing/x.rs", "--force", "push", "to", "?", "der", "die",
            ]),
            0..40,
        )
    ) {
        let task = words.join(" ");
        let judged = judge(&task);
        prop_assert_eq!(&judged, &judge(&task));
        prop_assert!((0.0..=1.0).contains(&judged.small));
        let choice = judged.workflow(&BUILT_IN);
        if judged.is_risky() || judged.unread.is_some() {
            prop_assert_eq!(choice.best, Some(1));
        }
        let sum: f64 = choice.chances.iter().map(|chance| chance.probability).sum();
        prop_assert!((sum - 1.0).abs() < 1e-9);
    }

    #[test]
    fn any_text_is_judged(task in "\\PC{0,300}") {
        let judged = judge(&task);
        prop_assert!(judged.small.is_finite() && judged.reasons.len() <= 20);
    }
}
