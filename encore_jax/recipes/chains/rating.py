"""Rules to ratings: every response rated by one judge, on every rule or on those that an adapter predicts."""

from __future__ import annotations

from pathlib import Path

from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.reward_model_files import reward_model_hashes
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.judge import judge
from encore_jax.recipes.stages.judges import judging_pool
from encore_jax.recipes.stages.predicted_rules import prediction_hashes
from encore_jax.recipes.stages.rating_report import rating_report, show_ratings
from encore_jax.recipes.stages.records import ANY, source_hashes


class RatingChain(Chain):
    """Comparisons, their ratings by one judge, and a report on the ratings."""

    STAGES = ("ingest", "rate", "report")

    def plan(self) -> Plan:
        config: RatingConfig = self.config
        at, settings, outputs = self.at, self.settings, self.outputs
        rated = config.judge.kind == "table"
        predicting = config.judge.rules_of
        return {
            "ingest": (
                lambda: settings("data") | {"sources": source_hashes(config.data, rated)},
                lambda folder: ingest(config.data, config.seed, folder, need_rated=rated, need=ANY),
            ),
            "rate": (
                lambda: (
                    settings("judge")
                    | outputs("ingest")
                    | {"rules": judging_pool(config).digest}
                    | ({"predicted": prediction_hashes(Path(predicting))} if predicting else {})
                    | judging_model(self)
                ),
                lambda folder: judge(config, at["ingest"], folder.parent, folder),
            ),
            "report": (
                lambda: settings("compose") | outputs("ingest", "rate"),
                lambda folder: rating_report(config, at["ingest"], at["rate"], folder),
            ),
        }

    def show(self) -> None:
        show_ratings(self.config, self.at["report"])


def judging_model(chain: Chain) -> dict:
    """What answers depend on besides config.judge: of judges "local" and "model" the model's settings and files."""
    config = chain.config
    if config.judge.kind == "local":
        return chain.settings("model") | {"weights": chain.weights}
    if config.judge.kind == "model":
        options = {"offline": config.data.offline, "fetch": config.fetch_backbone}
        return {"weights": reward_model_hashes(config.model.path, **options)}
    return {}
