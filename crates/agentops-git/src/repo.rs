//! One repository and one work tree of it: who it is, where it stands, what is not committed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::checkout_fault::{CheckoutFault, checkout_around, misleading_commondir, refused_configuration};
use crate::error::{Error, Result};
use crate::lanes;
use crate::missing::PartialAnswer;
use crate::names;
use crate::oid::{Hash, Oid};
use crate::plain::Plain;
use crate::run::{Call, Git, Version};

/// Where `HEAD` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: Oid,
    /// The short name of the branch, none when detached.
    pub branch: Option<String>,
}

/// What a work tree holds that no commit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkStatus {
    /// Anything at all.
    pub dirty: bool,
    /// Paths that differ between commit and index.
    pub staged: usize,
    /// Paths that differ between index and files, conflicts among them.
    pub unstaged: usize,
    /// Untracked files; a folder that is wholly untracked counts once.
    pub untracked: usize,
}

/// The user's name as configured for this repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `user.name`.
    pub name: Option<String>,
    /// `user.email`.
    pub email: Option<String>,
}

/// A repository seen from one of its work trees. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repo(Arc<Inner>, Arc<str>, Option<Arc<[(OsString, OsString)]>>);

#[derive(Debug)]
struct Inner {
    git: Git,
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_tree: PathBuf,
    hash: Hash,
    reftable: bool,
    fault: Option<CheckoutFault>,
    /// Hooks that the configuration defines by name; new versions of git know these.
    hooks: Vec<Vec<u8>>,
    plain: Plain,
    partial: PartialAnswer,
}

/// Settings for every call that sees the repository's own configuration.
const GUARDS: [&str; 12] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.pager=cat",
    "core.logAllRefUpdates=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "diff.external=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
];

/// What must be on disk before the name of an object or a ref is handed out. Git's own default leaves single objects to
/// the page cache, so that a ledger could name a commit that a power cut took away.
const DURABLE: [&str; 2] = ["core.fsync=objects,derived-metadata,reference", "core.fsyncMethod=batch"];

const SETTINGS: &str = "^(core\\.(filemode|symlinks|ignorecase|precomposeunicode|autocrlf|eol|excludesfile|attributesfile)\
                        |extensions\\.refstorage|hook\\..*|user\\.(name|email))$";

impl Repo {
    /// Finds the repository that `start` is in. Everything later names it explicitly. Inside a lane that is the repository
    /// which the lane belongs to.
    pub fn discover(git: &Git, start: &Path) -> Result<Self> {
        let found = Self::around(git, start)?;
        Ok(lanes::owner_of(&found)?.unwrap_or(found))
    }

    pub(crate) fn around(git: &Git, start: &Path) -> Result<Self> {
        let start = start.canonicalize().map_err(Error::io("open", start))?;
        let found = discover(git, &start)?;
        let call = found.guard(git.call(["--no-pager"]), git, &[]);
        let settings = read_settings(call)?;
        let hooks = settings.iter().filter_map(|(k, _)| hook_name(k)).collect();
        let reftable = settings.iter().any(|(k, v)| k == "extensions.refstorage" && v == b"reftable");
        let plain = Plain::new(&found.common_dir, found.hash, &settings)?;
        let Found { git_dir, common_dir, work_tree, hash, fault } = found;
        let id = path_id(&common_dir).into();
        let git = git.clone();
        let partial = PartialAnswer::default();
        let inner = Inner { git, git_dir, common_dir, work_tree, hash, reftable, fault, hooks, plain, partial };
        Ok(Self(Arc::new(inner), id, None))
    }

    pub(crate) fn program(&self) -> &Git {
        &self.0.git
    }

    /// 16 hexadecimal digits, the same through every link and every linked worktree. Until somebody gave it one, it is a hash
    /// of the git directory's path.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.1
    }

    /// The same repository under the id that its state has.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Self {
        Self(Arc::clone(&self.0), id.into(), self.2.clone())
    }

    /// The id that versions before repositories kept one gave to the repository at this path.
    #[must_use]
    pub fn path_id(&self) -> String {
        path_id(&self.0.common_dir)
    }

    /// The git directory of this work tree.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        &self.0.git_dir
    }

    /// The git directory that all work trees share.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        &self.0.common_dir
    }

    /// The work tree.
    #[must_use]
    pub fn work_tree(&self) -> &Path {
        &self.0.work_tree
    }

    /// Why git itself does not work in the checkout; none where that is in order.
    #[must_use]
    pub fn checkout_fault(&self) -> Option<CheckoutFault> {
        self.0.fault
    }

    /// Why git refuses the configuration of this repository now, so that no command of git works in it; none: it does not.
    ///
    /// # Errors
    /// Git cannot be asked.
    pub fn configuration_refused(&self) -> Result<Option<Error>> {
        let out = self.guarded().args(["rev-parse", "--git-dir"]).output()?;
        let path = self.common_dir().join("config");
        Ok(refused_configuration(&out).map(|words| Error::ConfigurationRefused { path, words }))
    }

    /// How objects are named.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    pub(crate) fn git_version(&self) -> Version {
        self.0.git.version()
    }

    pub(crate) fn uses_reftable(&self) -> bool {
        self.0.reftable
    }

    /// A guarded call in the repository's own git directory: only for commands that look at no contents.
    pub(crate) fn guarded(&self) -> Call {
        self.guarded_in(&self.0.git_dir, &self.0.work_tree)
    }

    /// The same for a linked worktree.
    pub(crate) fn guarded_in(&self, git_dir: &Path, work_tree: &Path) -> Call {
        let at = Found {
            git_dir: git_dir.to_owned(),
            common_dir: self.0.common_dir.clone(),
            work_tree: work_tree.to_owned(),
            hash: self.0.hash,
            fault: self.0.fault,
        };
        at.guard(self.0.git.call(["--no-pager"]), &self.0.git, &self.0.hooks)
    }

    /// A call in the git directory of our own, without a work tree.
    pub(crate) fn plain(&self) -> Result<Call> {
        self.0.plain.ensure()?;
        Ok(self.plain_in(&self.0.plain).cwd(self.0.plain.path()).preamble())
    }

    /// The same, reading attributes from this tree or commit.
    pub(crate) fn plain_with_attributes(&self, tree: &Oid) -> Result<Call> {
        Ok(self.plain()?.arg(format!("--attr-source={tree}")).preamble())
    }

    /// A call in the git directory of our own, on these files with this index.
    pub(crate) fn plain_on(&self, work_tree: &Path, index: &Path) -> Result<Call> {
        self.0.plain.ensure()?;
        let call = self.plain_in(&self.0.plain);
        Ok(call.env("GIT_WORK_TREE", work_tree).env("GIT_INDEX_FILE", index).cwd(work_tree).preamble())
    }

    /// A folder for what one call needs.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir> {
        let parent = self.0.plain.path();
        tempfile::tempdir_in(parent).map_err(Error::io("make a folder in", parent))
    }

    /// A git directory of our own for one index that somebody else wrote.
    pub(crate) fn plain_for_index(&self) -> Result<Plain> {
        self.0.plain.another()
    }

    pub(crate) fn plain_in(&self, plain: &Plain) -> Call {
        let mut call = self.0.git.call(["--no-pager"]);
        for setting in DURABLE.iter().chain(&["core.fsmonitor=false", "core.hooksPath=/dev/null"]) {
            call = call.arg("-c").arg(*setting);
        }
        call.env("GIT_DIR", plain.path())
            .env("GIT_OBJECT_DIRECTORY", self.0.common_dir.join("objects"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
    }

    /// The user's own git in the user's own checkout. Nothing but the user's merge, and the question who merges, may use it.
    pub(crate) fn as_user(&self) -> Call {
        let call = self.0.git.call::<&str>([]).cwd(&*self.0.work_tree).in_git_dirs([&self.0.git_dir, &self.0.common_dir]);
        let call = call.users_own();
        match &self.2 {
            Some(environment) => call.environment(environment),
            None => call,
        }
    }

    /// The user's own git without hooks, for comparing and putting back files of the checkout as their
    /// content filters have them.
    pub(crate) fn as_user_without_hooks(&self) -> Call {
        let mut call = self.as_user().args(["--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        for hook in &self.0.hooks {
            call = call.arg("-c").arg(names::joined(&[b"hook.", hook, b".enabled=false"]));
        }
        call.env("GIT_LITERAL_PATHSPECS", "1").env("GIT_OPTIONAL_LOCKS", "0").preamble()
    }

    /// The same repository for a user whose environment is not that of this process: their own git starts with theirs.
    #[must_use]
    pub fn in_environment(&self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(Arc::clone(&self.0), Arc::clone(&self.1), Some(environment.into_iter().collect()))
    }

    /// Whether git knows a name and an address of the user's for a commit. `variable`: `GIT_AUTHOR_IDENT` or
    /// `GIT_COMMITTER_IDENT`.
    pub fn knows_identity(&self, variable: &str) -> Result<bool> {
        Ok(self.as_user().args(["var", variable]).output()?.code == Some(0))
    }

    /// The program that git would start to sign the user's merge; `None`: it signs nothing, or in a way that we do not know.
    pub fn signing_program(&self) -> Result<Option<String>> {
        let setting = |args: &[&str]| -> Result<Option<String>> {
            let out = self.as_user().args(["config", "--get"]).args(args).output()?;
            let value = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            Ok((out.code == Some(0) && !value.is_empty()).then_some(value))
        };
        if setting(&["--type=bool", "commit.gpgSign"])?.as_deref() != Some("true") {
            return Ok(None);
        }
        let (name, default) = match setting(&["gpg.format"])?.as_deref() {
            None | Some("openpgp") => ("gpg.openpgp.program", "gpg"),
            Some("ssh") => ("gpg.ssh.program", "ssh-keygen"),
            Some("x509") => ("gpg.x509.program", "gpgsm"),
            Some(_) => return Ok(None),
        };
        let mut program = setting(&[name])?;
        if program.is_none() && default == "gpg" {
            program = setting(&["gpg.program"])?;
        }
        Ok(Some(program.unwrap_or_else(|| default.to_owned())))
    }

    /// The commit and branch of this work tree.
    pub fn head(&self) -> Result<Head> {
        let args = ["rev-parse", "--revs-only", "HEAD^{commit}", "--symbolic-full-name", "HEAD"];
        let out = self.guarded().args(args).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let mut lines = text.lines();
        let Some(commit) = lines.next().and_then(|l| l.parse().ok()) else {
            let unborn = self.guarded().args(["symbolic-ref", "--quiet", "HEAD"]).output()?;
            if unborn.code == Some(0) {
                return Err(Error::NoCommits { path: self.0.work_tree.clone() });
            }
            return Err(out.failed("rev-parse HEAD".to_owned()));
        };
        let branch = lines.next().and_then(|l| l.strip_prefix("refs/heads/")).map(str::to_owned);
        Ok(Head { commit, branch })
    }

    /// The commit that a person named.
    pub fn resolve(&self, rev: &str) -> Result<Oid> {
        let unknown = || Error::UnknownRevision { rev: rev.chars().take(200).collect() };
        if rev.is_empty() || rev.contains('\0') {
            return Err(unknown());
        }
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{rev}^{{commit}}")];
        let out = self.guarded().args(args).output()?;
        // With a leading caret git answers "not this commit", which is no commit to start from.
        Oid::parse(&out.stdout, "rev-parse").map_err(|_| unknown())
    }

    /// What is not committed here. Content of submodules is not looked at: that would start git inside them.
    pub fn status(&self) -> Result<WorkStatus> {
        let head = match self.head() {
            Ok(head) => Some(head.commit),
            Err(Error::NoCommits { .. }) => None,
            Err(e) => return Err(e),
        };
        let plain = self.0.plain.at(head.as_ref(), &self.0.git_dir)?;
        let call = self.plain_in(&plain);
        let call = call.env("GIT_WORK_TREE", &self.0.work_tree).env("GIT_INDEX_FILE", self.0.git_dir.join("index"));
        let call = call.cwd(&*self.0.work_tree).preamble().long();
        let args = ["status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=normal"];
        Ok(count(&call.args(args).arg("--ignore-submodules=dirty").ok()?))
    }

    /// Where submodules are in a commit.
    pub fn submodules(&self, commit: &Oid) -> Result<Vec<PathBuf>> {
        let entries = self.list_tree(commit, None)?;
        Ok(entries.into_iter().filter(|e| e.mode == 0o160_000).map(|e| e.path).collect())
    }

    /// Whether files of this commit are meant to pass a content filter such as LFS, and which ones.
    pub fn filtered(&self, commit: &Oid) -> Result<Vec<PathBuf>> {
        let entries = self.list_tree(commit, None)?;
        let files = entries.iter().filter(|e| e.mode != 0o160_000 && e.mode != 0o120_000);
        let room = self.scratch()?;
        let index = room.path().join("index");
        self.plain()?.env("GIT_INDEX_FILE", &index).args(["read-tree", commit.as_str()]).long().ok()?;
        self.with_filter(&index, files.map(|e| e.path.as_path()))
    }

    /// Those of these paths that have a filter by the attributes in an index and of the repository. Git reads attributes of
    /// every folder on a path's way: in an index each is one search, in a tree each is a walk from the root, which takes
    /// minutes for a path of a thousand folders.
    pub(crate) fn with_filter<'a>(&self, index: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<Vec<PathBuf>> {
        let mut stdin = Vec::new();
        for path in paths {
            stdin.extend_from_slice(path.as_os_str().as_bytes());
            stdin.push(0);
        }
        if stdin.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.plain()?.env("GIT_INDEX_FILE", index).args(["check-attr", "--cached", "-z", "--stdin", "filter"]);
        let out = call.stdin(stdin).long().ok()?;
        let fields: Vec<_> = out.split(|b| *b == 0).collect();
        let (rows, _) = fields.as_chunks::<3>();
        let named = rows.iter().filter(|[_, _, value]| ![&b"unspecified"[..], b"unset", b"set"].contains(value));
        Ok(named.map(|[path, ..]| names::path(path)).collect())
    }

    /// Every setting that holds in this checkout, in the order in which git reads them: the last one of a key counts.
    pub(crate) fn all_settings(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let out = self.guarded().args(["config", "--null", "--list"]).ok()?;
        Ok(setting_rows(&out))
    }

    pub(crate) fn partial_answer(&self) -> &PartialAnswer {
        &self.0.partial
    }

    /// The user's name and address, as far as configured.
    pub fn user_identity(&self) -> Result<Identity> {
        let settings = read_settings(self.guarded())?;
        let last = |key| settings.iter().rev().find(|(k, _)| k == key).map(|(_, v)| String::from_utf8_lossy(v).into_owned());
        Ok(Identity { name: last("user.name"), email: last("user.email") })
    }
}

/// What discovery learned.
struct Found {
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_tree: PathBuf,
    hash: Hash,
    fault: Option<CheckoutFault>,
}

impl Found {
    fn guard(&self, call: Call, git: &Git, hooks: &[Vec<u8>]) -> Call {
        debug_assert!(git.version().major >= 2);
        let mut call = call.arg(names::joined(&[b"--git-dir=", self.git_dir.as_os_str().as_bytes()]));
        call = call.arg(names::joined(&[b"--work-tree=", self.work_tree.as_os_str().as_bytes()]));
        call = call.arg(format!("--attr-source={}", self.hash.empty_tree()));
        for setting in GUARDS.iter().chain(&DURABLE) {
            call = call.arg("-c").arg(*setting);
        }
        for hook in hooks {
            call = call.arg("-c").arg(names::joined(&[b"hook.", hook, b".enabled=false"]));
        }
        call.env("GIT_COMMON_DIR", &self.common_dir)
            .env("GIT_COMMITTER_NAME", "agentops")
            .env("GIT_COMMITTER_EMAIL", "agentops@localhost")
            .in_git_dirs([&self.git_dir, &self.common_dir])
            .cwd(&*self.work_tree)
            .preamble()
    }
}

fn discover(git: &Git, start: &Path) -> Result<Found> {
    const ASKED: [&str; 5] =
        ["--is-inside-work-tree", "--show-object-format", "--git-dir", "--git-common-dir", "--show-toplevel"];
    let mut named: Option<PathBuf> = None;
    let mut fault = None;
    let ask = |named: &Option<PathBuf>, questions: &[&str]| {
        let call = git.call(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
        let mut call = call.args(["-c", "safe.bareRepository=explicit"]).preamble().cwd(start);
        if let Some(work_tree) = named {
            call = call.env("GIT_DIR", work_tree.join(".git")).env("GIT_WORK_TREE", work_tree);
        }
        call.args(["rev-parse", "--path-format=absolute"]).args(questions.iter().copied()).output()
    };
    // Git may not even find a repository through such a file.
    let nearest = start.ancestors().map(|folder| folder.join(".git")).find(|git_dir| git_dir.exists());
    if let Some(path) = nearest.and_then(|git_dir| misleading_commondir(&git_dir)) {
        return Err(Error::OtherGitDirectory { path });
    }
    let mut out = ask(&named, &ASKED)?;
    let path = start.to_owned();
    if out.code != Some(0)
        && out.stderr.contains("must be run in a work tree")
        && let Some(work_tree) = checkout_around(start, &ask(&named, &["--absolute-git-dir"])?.stdout)
    {
        (named, fault) = (Some(work_tree), Some(CheckoutFault::CalledBare));
        out = ask(&named, &ASKED)?;
    }
    if let Some(words) = refused_configuration(&out) {
        let path = start.ancestors().map(|folder| folder.join(".git/config")).find(|config| config.exists());
        return Err(Error::ConfigurationRefused { path: path.unwrap_or_else(|| start.join(".git/config")), words });
    }
    if out.code != Some(0) {
        let says = |words: &str| out.stderr.contains(words);
        return Err(if says("dubious ownership") {
            Error::NotOwned { path }
        } else if says("cannot use bare repository") || bare(git, start)? {
            Error::Bare { path }
        } else if says("not a git repository") || says("must be run in a work tree") {
            Error::NotARepository { path }
        } else {
            out.failed("rev-parse".to_owned())
        });
    }
    let all_answers = |named: &Option<PathBuf>, out: &[u8]| -> Result<Vec<Vec<u8>>> {
        let mut answers: Vec<Vec<u8>> = out.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        if answers.len() != ASKED.len() + 1 {
            // A line end inside a path: ask one by one.
            answers.clear();
            for question in ASKED {
                let mut answer = ask(named, &[question])?.stdout;
                answer.pop();
                answers.push(answer);
            }
        }
        Ok(answers)
    };
    let mut answers = all_answers(&named, &out.stdout)?;
    let around = answers.get(2).and_then(|git_dir| checkout_around(start, git_dir));
    if let Some(work_tree) = around.filter(|around| named.is_none() && !leads_to(&answers, around)) {
        (named, fault) = (Some(work_tree), Some(CheckoutFault::FilesElsewhere));
        answers = all_answers(&named, &ask(&named, &ASKED)?.stdout)?;
    }
    let [inside, hash, git_dir, common_dir, work_tree, ..] = answers.as_slice() else {
        return Err(Error::Unexpected { what: "rev-parse".to_owned() });
    };
    if inside != b"true" {
        return Err(Error::NotARepository { path });
    }
    if let Some(path) = misleading_commondir(&names::path(git_dir)) {
        return Err(Error::OtherGitDirectory { path });
    }
    let real = |bytes: &[u8]| fs::canonicalize(names::path(bytes)).map_err(Error::io("open", names::path(bytes)));
    let hash = match hash.as_slice() {
        b"sha1" => Hash::Sha1,
        b"sha256" => Hash::Sha256,
        _ => return Err(Error::Unexpected { what: "rev-parse --show-object-format".to_owned() }),
    };
    Ok(Found { git_dir: real(git_dir)?, common_dir: real(common_dir)?, work_tree: real(work_tree)?, hash, fault })
}

/// Whether git takes this folder for the checkout.
fn leads_to(answers: &[Vec<u8>], checkout: &Path) -> bool {
    let [inside, _, _, _, work_tree, ..] = answers else { return false };
    inside == b"true" && fs::canonicalize(names::path(work_tree)).is_ok_and(|work_tree| work_tree == checkout)
}

fn path_id(common_dir: &Path) -> String {
    let digest = Sha256::digest(common_dir.as_os_str().as_bytes());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn bare(git: &Git, start: &Path) -> Result<bool> {
    let call = git.call(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "rev-parse"]);
    Ok(call.arg("--is-bare-repository").cwd(start).output()?.stdout == b"true\n")
}

fn read_settings(call: Call) -> Result<Vec<(String, Vec<u8>)>> {
    let out = call.args(["config", "--null", "--get-regexp", SETTINGS]).ok_or_code(&[1])?;
    Ok(setting_rows(&out.stdout))
}

/// Reads what `git config --null` lists.
fn setting_rows(out: &[u8]) -> Vec<(String, Vec<u8>)> {
    let rows = out.split(|b| *b == 0).filter(|r| !r.is_empty()).map(|row| {
        // A key without a value means true.
        let (key, value) = row.iter().position(|b| *b == b'\n').map_or((row, &b"true"[..]), |i| (&row[..i], &row[i + 1..]));
        (String::from_utf8_lossy(key).into_owned(), value.to_vec())
    });
    rows.collect()
}

fn hook_name(key: &str) -> Option<Vec<u8>> {
    let (name, _) = key.strip_prefix("hook.")?.rsplit_once('.')?;
    // A line end or an equals sign cannot be said on a command line; git reads the key up to the first equals sign.
    (!name.contains(['=', '\n'])).then(|| name.as_bytes().to_vec())
}

fn count(porcelain: &[u8]) -> WorkStatus {
    let mut status = WorkStatus::default();
    for row in porcelain.split(|b| *b == 0) {
        match row {
            [b'1', b' ', x, y, ..] => {
                status.staged += usize::from(*x != b'.');
                status.unstaged += usize::from(*y != b'.');
            }
            [b'u', ..] => status.unstaged += 1,
            [b'?', ..] => status.untracked += 1,
            _ => {}
        }
    }
    status.dirty = status.staged + status.unstaged + status.untracked > 0;
    status
}
