#!/usr/bin/env python3
"""What commits ask for and how much they changed: the data that the test `judge::fit` fits and scores `judge` on.

  size_data.py GITDIR... > commits.jsonl

Standard library only (Python 3.9+). Reads the newest commits of each repository given and writes
{"repository", "text", "files", "lines", "small"} a line. Nothing of it belongs in this repository but the weights.

small: at most one file and at most 15 changed lines (added and deleted). Lock files and change logs never count; tests
only where nothing else changed, since a small change with its test is still small.
Left out: merges, reverts, releases, commits by bots, and subjects of fewer than three words.
The text is the message without trailers, numbers of issues and links; of every second commit only its first line.
"""
import json, os, re, subprocess, sys

COMMITS_MAX, TEXT_MAX = 1500, 4000
IGNORED = re.compile(r"(^|/)([^/]*[.-]lock(\.json|file|\.yaml)?|go\.sum|package-lock\.json|pnpm-lock\.yaml|"
                     r"(change(s|log)|history|news|authors|contributors|whats_new)([.-][^/]*)?)$|(^|/)(changelog|changes|\.changeset)/", re.I)
TEST = re.compile(r"(^|/)(tests?|testing|spec|specs|__tests__|testdata|fixtures|snapshots?)/|(^|/)test_|[._-](test|tests|spec|snap)\.", re.I)
TRAILER = re.compile(r"^(signed-off-by|co-authored-by|reviewed-by|closes?|fix(es|ed)?|refs?|see|resolves?|pr-url|change-id|cc|"
                     r"cherry.picked)\b[^a-z]*(#\d+|https?:|[\w.-]+/[\w.-]+#\d+|[^:]*@|.*<).*$", re.I | re.M)
SKIP = re.compile(r"^(merge|revert|release|prepare|version|bump version|v?\d+\.\d+|update changelog|changelog|wip\b)|\[bot\]|^\[ci\]", re.I)


def rows(gitdir):
    name = os.path.basename(os.path.dirname(gitdir.rstrip("/"))) if gitdir.rstrip("/").endswith("/repo") else gitdir
    log = subprocess.run(["git", "--git-dir", gitdir, "log", "--no-merges", "-n", str(COMMITS_MAX * 2), "--numstat",
                          "--format=%x01%H%x02%an%x02%B%x02"], stdout=subprocess.PIPE).stdout.decode("utf-8", "replace")
    # A partial copy ends the log early at a missing file; what came before it counts.
    made = 0
    for entry in log.split("\x01")[1:]:
        commit, author, message, stat = entry.split("\x02", 3)
        changed = [line.split("\t", 2) for line in stat.strip().split("\n") if line.count("\t") == 2]
        changed = [(path, int(a) + int(d)) for a, d, path in changed if a != "-" and not IGNORED.search(path)]
        changed = [c for c in changed if not TEST.search(c[0])] or changed
        text = re.sub(r"\(?#\d+\)?|https?://\S+", "", TRAILER.sub("", message)).strip()
        if re.search(r"\bbot\b|dependabot|renovate", author, re.I) or SKIP.search(text) or not changed:
            continue
        if int(commit[:8], 16) % 2:
            text = text.split("\n", 1)[0].strip()
        if len(text.split("\n", 1)[0].split()) < 3:
            continue
        lines = sum(n for _, n in changed)
        made += 1
        yield {"repository": name, "text": text[:TEXT_MAX], "files": len(changed), "lines": lines,
               "small": len(changed) == 1 and lines <= 15}
        if made == COMMITS_MAX:
            return


for gitdir in sys.argv[1:]:
    for row in rows(gitdir):
        print(json.dumps(row, ensure_ascii=False))
