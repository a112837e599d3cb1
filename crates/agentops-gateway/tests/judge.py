#!/usr/bin/env python3
"""Compares what the gateway estimates for generated requests with what Python's tiktoken counts in them.

    python3 judge.py CASES

CASES: the folder that the test `b1_generated_requests_are_estimated_for_another_judge` filled. The tables of both encodings
stand in the sources of the crate tiktoken-rs, where cargo put them.

Nothing is shared with the product: neither its tokenizer nor its readers nor the way it reads its table of models. Two
counts are made of each request. `least` is what its provider reads for certain: the texts, what tools are given and give
back, and the tools. `most` is all that stands in it, with every sign, as docs/ceiling.md says. The estimate without the
tokens around the request and its messages must be at least the first; and at most the second times the factor that
models.toml publishes for the model's family. cl100k is a figure only: some scripts have more of its tokens than any factor
gives.
"""

import base64
import decimal
import heapq
import json
import multiprocessing
import pathlib
import re
import subprocess
import sys
import tomllib

import tiktoken
import tiktoken_ext.openai_public as encodings

CRATE = pathlib.Path(__file__).resolve().parent.parent
MODELS = CRATE.parent / "agentops-core/data/models.toml"
# A value of one of these is read as JSON where it is an object or a list.
JSON_MEMBERS = {"input", "args", "response", "arguments", "parameters", "input_schema", "schema", "tools"}
CONVERSATION = {"Anthropic Messages": "messages", "OpenAI Chat Completions": "messages", "OpenAI Responses": "input",
                "Gemini": "contents"}
INSTRUCTIONS = {"system", "instructions", "systemInstruction"}
# The gateway counts a long text in pieces of 4 KiB, less the bytes of one sign, or more. A cut counts as 16 tokens, and the
# pieces can have some tokens more than the whole: a search among texts built for that found six.
CUT_BYTES, CUT_TOKENS = 4093, 16 + 6
SIGNS = COMPACT, SPACED = (",", ":"), (", ", ": ")


class Number(str):
    """A number as it is written. A provider that reads it may write it in another form, which may have more tokens."""

    def python(self):
        return json.dumps(float(self)) if set(self) & set(".eE") else str(self)

    def javascript(self):
        number = float(self)
        if not 1e-6 <= abs(number) < 1e21:
            return re.sub(r"e([+-])0", r"e\1", repr(number)).removesuffix(".0")
        plain = format(decimal.Decimal(repr(number)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain


FORMS = (str, Number.python, Number.javascript)


def tables_of_the_crate():
    listed = subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=CRATE, check=True, stdout=subprocess.PIPE)
    packages = json.loads(listed.stdout)["packages"]
    [manifest] = [package["manifest_path"] for package in packages if package["name"] == "tiktoken-rs"]
    return pathlib.Path(manifest).parent / "assets"


def encoding(tables, name):
    ranks = {}
    for line in (tables / f"{name}.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    encodings.load_tiktoken_bpe = lambda *_, **__: ranks
    return tiktoken.Encoding(**encodings.ENCODING_CONSTRUCTORS[name]())


def family(models, model):
    """The figures of the longest beginning that is this model's."""
    best, longest = models["unknown"], 0
    for entry in models["family"]:
        begins = entry["begins"] if isinstance(entry["begins"], list) else [entry["begins"]]
        length = max((len(begin) for begin in begins if model.replace(".", "-").startswith(begin)), default=0)
        if length > longest and "contains" not in entry:
            best, longest = entry, length
    return best


def utf8(text):
    """Half a surrogate pair is no text."""
    return text.encode("utf-8", "replace").decode("utf-8")


def written(value, signs, plain, number=str):
    """JSON as a provider may write it. `plain`: strings as the texts that they are."""
    if isinstance(value, Number):
        return number(value)
    if isinstance(value, str):
        return f'"{utf8(value)}"' if plain else json.dumps(utf8(value), ensure_ascii=False)
    if isinstance(value, list):
        return "[" + signs[0].join(written(item, signs, plain, number) for item in value) + "]"
    if isinstance(value, dict):
        members = []
        for key, member in value.items():
            is_json = key in JSON_MEMBERS and isinstance(member, (dict, list))
            name = written(key, signs, plain)
            members.append(name + signs[1] + written(member, signs, plain and not is_json, number))
        return "{" + signs[0].join(members) + "}"
    return json.dumps(value)


class Judge:
    def __init__(self, tables, models):
        self.models = models
        self.o200k = encoding(tables, "o200k_base")
        self.cl100k = encoding(tables, "cl100k_base")

    def count(self, text):
        return len(self.o200k.encode_ordinary(text))

    def json(self, value):
        return max(self.count(text) for text in {written(value, signs, False, form) for signs in SIGNS for form in FORMS})

    def longest(self, number):
        forms = {form(number) for form in FORMS}
        return str(number) if len(forms) == 1 else max(forms, key=self.count)

    def least(self, protocol, body):
        texts, values = [], [body.get("tools")]
        texts.append(body.get("instructions"))
        texts.extend(block["text"] for block in body.get("system", []))
        texts.extend(part["text"] for part in body.get("systemInstruction", {}).get("parts", []))
        for item in body[CONVERSATION[protocol]]:
            texts.extend([item.get("arguments"), item.get("output")])
            texts.extend(call["function"]["arguments"] for call in item.get("tool_calls", []))
            content = item.get("content", item.get("parts", []))
            for block in [{"text": content}] if isinstance(content, str) else content:
                texts.extend([block.get("text"), block.get("content")])
                values.append(block.get("input"))
                values.append(block.get("functionCall", {}).get("args"))
                values.append(block.get("functionResponse", {}).get("response"))
        texts = [utf8(text) for text in texts if text is not None]
        values = [value for value in values if value is not None]
        cl100k = sum(len(self.cl100k.encode_ordinary(text)) for text in texts)
        cl100k += sum(len(self.cl100k.encode_ordinary(written(value, SPACED, False))) for value in values)
        return sum(map(self.count, texts)) + sum(map(self.json, values)), cl100k

    def most(self, protocol, body, figures):
        """Each member and each item is counted and rounded by itself."""
        parts = []
        for key, value in body.items():
            is_text = key in INSTRUCTIONS
            if key == CONVERSATION[protocol]:
                parts.extend((item, True) for item in value)
            else:
                parts.append((value, is_text))
        tokens = 0
        for value, plain in parts:
            texts = [written(value, signs, plain, self.longest) for signs in SIGNS]
            cuts = max(len(text.encode()) for text in texts) // CUT_BYTES * CUT_TOKENS
            tokens += -(-(max(map(self.count, texts)) + cuts) * figures["factor"] // 1000)
        return tokens

    def file(self, path):
        result = {}
        for line in path.open(encoding="utf-8"):
            case = json.loads(line)
            protocol, estimate = case["protocol"], case["estimate"]
            body = json.loads(case["body"], parse_int=Number, parse_float=Number)
            figures = family(self.models, case["model"])
            seen = result.setdefault(protocol, {"cases": 0, "low": [], "high": [], "wrong": [], "cl100k": 9e9})
            seen["cases"] += 1
            if estimate is None:
                seen["wrong"].append(("refused", case))
                continue
            # What a provider puts around a request hides nothing that was left out.
            around = figures["request"] + figures["message"] * len(body[CONVERSATION[protocol]])
            estimate -= around
            (least, cl100k), most = self.least(protocol, body), self.most(protocol, body, figures)
            for list_, ratio in (("low", -estimate / max(least, 1)), ("high", estimate / most)):
                heapq.heappush(seen[list_], (ratio, case["case"], estimate, least, most, case["model"], case["body"][:300]))
                if len(seen[list_]) > 3:
                    heapq.heappop(seen[list_])
            seen["cl100k"] = min(seen["cl100k"], estimate / max(cl100k, 1))
            if not least <= estimate <= most:
                seen["wrong"].append((f"estimate {estimate}, least {least}, most {most}", case))
        return result


def of_file(arguments):
    path, tables, models = arguments
    return Judge(tables, models).file(path)


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl"))
    tables, table = tables_of_the_crate(), tomllib.loads(MODELS.read_text())
    with multiprocessing.Pool() as pool:
        results = pool.map(of_file, [(path, tables, table) for path in paths], chunksize=1)
    wrong = 0
    for protocol in CONVERSATION:
        halves = [result[protocol] for result in results]
        low = sorted(sum((half["low"] for half in halves), []), reverse=True)[:3]
        high = sorted(sum((half["high"] for half in halves), []), reverse=True)[:3]
        count = sum(half["cases"] for half in halves)
        cl100k = min(half["cl100k"] for half in halves)
        if not low:
            print(f"{protocol}: {count} cases, all of them refused")
            wrong += 1
            continue
        print(f"{protocol}: {count} cases; estimate / least from {-low[0][0]:.3f}; estimate / most to {high[0][0]:.3f}; "
              f"estimate / least by cl100k from {cl100k:.3f}")
        for ratio, name, estimate, least, most, model, body in low + high:
            print(f"  {abs(ratio):.3f} case {name}, {model}: estimate {estimate}, least {least}, most {most}: {body[:120]!r}")
        for half in halves:
            wrong += len(half["wrong"])
            for words, case in half["wrong"][:5]:
                print(f"  WRONG case {case['case']}, {case['model']}: {words}: {case['body'][:2000]}")
    total = sum(half["cases"] for result in results for half in result.values())
    print(f"{total} cases, {wrong} wrong")
    sys.exit(wrong > 0 or total == 0)


if __name__ == "__main__":
    main()
