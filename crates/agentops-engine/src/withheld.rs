//! Which variables of a run's environment what runs in a lane does not get.

use std::ffi::OsStr;

use agentops_agents::environment::Environment;
use agentops_safe::is_withheld;

/// Whether a variable reaches a lane. `added`: names that pass although they look like secrets; one that ends with `*` stands
/// for all that begin like it. None makes a variable pass that could lead git to another repository.
fn passes(name: &OsStr, value: &OsStr, added: &[String]) -> bool {
    let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
    let named = added.iter().any(|added| match added.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *added == name,
    });
    !agentops_git::points_git_elsewhere(&name) && (named || !is_withheld(&name, &value))
}

/// The variables that reach a lane.
pub fn passed<'e>(env: &'e Environment, added: &'e [String]) -> impl Iterator<Item = (&'e OsStr, &'e OsStr)> {
    env.iter().filter(|(name, value)| passes(name, value, added))
}

/// The names of those that do not, sorted.
#[must_use]
pub fn names(env: &Environment, added: &[String]) -> Vec<String> {
    let withheld = env.iter().filter(|(name, value)| !passes(name, value, added));
    let mut names: Vec<String> = withheld.map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The names of variables that look like secrets and reach a program all the same, sorted.
#[must_use]
pub fn held(env: &Environment, added: &[String]) -> Vec<String> {
    let without = names(env, &[]);
    let with = names(env, added);
    without.into_iter().filter(|name| !with.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_a_variable_that_names_a_repository_never_reaches_a_lane() {
        let names =
            ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_OF_TOMORROW"];
        let env: Environment = names.iter().chain(&["GIT_SSL_CAINFO"]).map(|name| ((*name).into(), "x".into())).collect();
        let passed: Vec<_> = passed(&env, &["GIT_*".into()]).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(passed, ["GIT_SSL_CAINFO"]);
    }

    #[test]
    fn a_name_is_added_back_alone_and_a_beginning_with_all_that_it_begins() {
        let pairs = [("PATH", "/bin"), ("AWS_REGION", "x"), ("AWS_TOKEN", "x"), ("NPM_TOKEN", "x")];
        let env: Environment = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(names(&env, &[]), ["AWS_REGION", "AWS_TOKEN", "NPM_TOKEN"]);
        assert_eq!(names(&env, &["NPM_TOKEN".into()]), ["AWS_REGION", "AWS_TOKEN"]);
        assert_eq!(held(&env, &["AWS_*".into()]), ["AWS_REGION", "AWS_TOKEN"]);
        assert_eq!(passed(&env, &["AWS_*".into()]).count(), 3);
    }
}
