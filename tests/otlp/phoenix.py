#!/usr/bin/env python3
"""Shows a recorded run to a real OTLP receiver, Arize Phoenix, and asks it what it saw.

    tests/otlp/phoenix.py [DIRECTORY]

Installs Phoenix from PyPI into a virtual environment below DIRECTORY (default: the user's cache folder; the first time takes
minutes), starts it on loopback with its own telemetry off, exports one run twice, and checks through its REST and GraphQL
interfaces that run, phases, sessions and calls stand under one another with their tokens, once each. Ends with 0 if so.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

PHOENIX = "20.26.1"
ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 300
SEEN_SECONDS_MAX = 60


def install(directory):
    home = directory / f"phoenix-{PHOENIX}"
    done = home / "installed"
    if not done.exists():
        print(f"installing Phoenix {PHOENIX} into {home}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", f"arize-phoenix=={PHOENIX}"]
        subprocess.run(pip, check=True)
        done.touch()
    return home / "bin" / "phoenix"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, query=None):
    body = None if query is None else json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def until(seconds_max, what, look, server):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"Phoenix ended with {server.returncode}")
        try:
            found = look()
        except (urllib.error.URLError, ConnectionError):
            found = None
        if found:
            return found
        time.sleep(0.5)
    sys.exit(f"{what}: nothing within {seconds_max} s")


def export(url, start_ms):
    command = ["cargo", "run", "--quiet", "-p", "agentops-telemetry", "--example", "export", "--", url, str(start_ms)]
    # Phoenix takes traces only.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["OTEL_METRICS_EXPORTER"] = "none"
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    trace, recorded, sent = done.stdout.split()
    assert int(recorded) == int(sent) > 0, done.stdout
    return trace, int(sent)


def check(spans, trace, count):
    assert len(spans) == count, f"{len(spans)} spans are shown and {count} were sent"
    assert {span["context"]["trace_id"] for span in spans} == {trace}
    by_id = {span["context"]["span_id"]: span for span in spans}
    assert len(by_id) == count
    parents = {"phase": "invoke_workflow", "invoke_agent": "phase", "chat": "invoke_agent"}
    kinds = {"invoke_agent": "AGENT", "chat": "LLM"}
    roots, calls = [], 0
    for span in spans:
        word, attributes = span["name"].split()[0], span["attributes"]
        if span["parent_id"]:
            above = by_id[span["parent_id"]]["name"].split()[0]
            assert above == parents[word], f"{span['name']} stands under {above}"
        else:
            roots.append(span["name"])
        assert span["span_kind"] == kinds.get(word, "UNKNOWN"), f"{span['name']} is shown as {span['span_kind']}"
        if word == "chat" and "gen_ai.usage.input_tokens" in attributes:
            calls += 1
            shown = {
                "llm.token_count.prompt": "gen_ai.usage.input_tokens",
                "llm.token_count.completion": "gen_ai.usage.output_tokens",
                "llm.token_count.prompt_details.cache_read": "gen_ai.usage.cache_read.input_tokens",
                "llm.token_count.prompt_details.cache_write": "gen_ai.usage.cache_write.input_tokens",
            }
            for theirs, ours in shown.items():
                assert attributes[theirs] == attributes[ours], f"{span['name']}: {theirs}"
            assert 0 < attributes["agentops.context.used_ratio"] <= 0.4
    assert roots == ["invoke_workflow full"], roots
    assert calls > 0
    assert "planted" not in json.dumps(spans), "something is shown that must never leave"
    return calls


def project(url):
    query = "{ projects { edges { node { name traceCount tokenCountTotal } } } }"
    for edge in ask(f"{url}/graphql", query)["data"]["projects"]["edges"]:
        if edge["node"]["name"] == "agentops":
            return edge["node"]
    return None


def show(spans, parent=None, depth=0):
    below = [span for span in spans if (span["parent_id"] or None) == parent]
    for span in sorted(below, key=lambda span: (span["start_time"], span["end_time"])):
        attributes = span["attributes"]
        tokens = attributes.get("llm.token_count.total")
        ratio = attributes.get("agentops.context.used_ratio")
        figures = [f"{tokens} tokens"] if tokens else []
        figures += [f"{ratio:.1%} of the window"] if ratio else []
        figures += [attributes["error.type"]] if "error.type" in attributes else []
        print("  " * depth + span["name"], f"[{span['span_kind']}]", *figures)
        show(spans, span["context"]["span_id"], depth + 1)


def main():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "agentops-ci"
    directory = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else cache
    directory.mkdir(parents=True, exist_ok=True)
    program = install(directory)
    with tempfile.TemporaryDirectory() as data, open(pathlib.Path(data) / "log", "w+") as log:
        port = free_port()
        environment = os.environ | {
            "PHOENIX_WORKING_DIR": data,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        server = subprocess.Popen([program, "serve"], env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            until(START_SECONDS_MAX, "Phoenix", lambda: ask(f"{url}/v1/projects"), server)
            start_ms = int(time.time() * 1000) - 120_000
            trace, count = export(url, start_ms)
            # As a supervisor does that takes the run over: the same spans again.
            assert export(url, start_ms) == (trace, count)

            def seen():
                spans = ask(f"{url}/v1/projects/agentops/spans?limit=1000")["data"]
                return spans if len(spans) >= count else None

            spans = until(SEEN_SECONDS_MAX, "the spans", seen, server)
            calls = check(spans, trace, count)
            show(spans)
            shown = project(url)
            ours = sum(span["attributes"].get("llm.token_count.total", 0) for span in spans)
            assert shown["traceCount"] == 1, shown
            assert shown["tokenCountTotal"] == ours, f"{shown}; the calls have {ours}"
            print(f"Phoenix shows {count} spans of one trace, {calls} calls with {ours} tokens, each once")
        finally:
            server.terminate()
            server.wait(timeout=60)


if __name__ == "__main__":
    main()
