"""A saved reward model on a benchmark."""

from __future__ import annotations

from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.stages.benchmark import data_file, evaluate, ingest, model_hashes, report, score, show


class BenchmarkChain(Chain):
    """Every response scored, by our conventions and perhaps a peer's; the benchmark's own scores; what differs."""

    STAGES = ("ingest", "score", "evaluate", "report")
    PUBLISHED = ("results.json", "report.html", "official")

    def plan(self) -> Plan:
        config, at, settings, outputs = self.config, self.at, self.settings, self.outputs
        return {
            "ingest": (
                lambda: settings("data", "format", "revision", "limit") | {"sha256": data_file(config)[1]},
                lambda folder: ingest(config, folder),
            ),
            "score": (
                lambda: (
                    settings("peer", "dtype", "buckets", "tokens_per_batch")
                    | outputs("ingest")
                    | {"model": model_hashes(config)}
                ),
                lambda folder: score(config, at["ingest"], folder),
            ),
            "evaluate": (
                lambda: self.everything() | outputs("ingest", "score"),
                lambda folder: evaluate(config, at["ingest"], at["score"], folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report(at["evaluate"], folder),
            ),
        }

    def show(self) -> None:
        show(self.at["report"])
