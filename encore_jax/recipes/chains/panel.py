"""Rules to ratings by a panel: every response rated by every judge, and what is known about which judges to trust."""

from __future__ import annotations

from encore_jax.recipes.chain import Chain, Plan, model_sha256
from encore_jax.recipes.panel_config import PanelConfig, with_name
from encore_jax.recipes.reward_model_files import reward_model_hashes
from encore_jax.recipes.stages.judges import judging_pool
from encore_jax.recipes.stages.panel import check_size, ingest_panel, panel_sources, rate_panel
from encore_jax.recipes.stages.panel_report import measure_panel, report_panel, show_panel


class PanelChain(Chain):
    """Comparisons, their ratings by every judge, the panel's reliability, and a report."""

    STAGES = ("ingest", "rate", "panel", "report")

    def plan(self) -> Plan:
        config: PanelConfig = self.config
        at, settings, outputs = self.at, self.settings, self.outputs
        return {
            "ingest": (
                lambda: settings("data", "pool") | {"sources": panel_sources(config)},
                lambda folder: ingest_panel(config, folder),
            ),
            "rate": (
                lambda: (
                    settings("judges", "pool")
                    | outputs("ingest")
                    | {"rules": check_size(config, panel_pool(config)).digest}
                    | {"models": judging_models(config)}
                ),
                lambda folder: rate_panel(config, at["ingest"], folder.parent, folder),
            ),
            "panel": (
                lambda: settings("min_judges", "mean_of", "anchor", "replicates", "tau") | outputs("rate"),
                lambda folder: measure_panel(config, at["rate"], folder),
            ),
            "report": (
                lambda: self.everything() | outputs("ingest", "panel"),
                lambda folder: report_panel(config, at["ingest"], at["panel"], folder),
            ),
        }

    def show(self) -> None:
        show_panel(self.at["report"])


def panel_pool(config: PanelConfig):
    """The rules that all judges are asked about."""
    _, member = next(iter(config.members().values()))
    return judging_pool(member)


def judging_models(config: PanelConfig) -> dict:
    """Of judges "local" and "model" the hashes of their models' files, which answers depend on."""
    found, offline = {}, config.data.offline
    for name, judge in config.named():
        if judge.kind == "local":
            found[name] = with_name(name, lambda judge=judge: model_sha256(judge.backbone, offline))
        elif judge.kind == "model":
            options = {"offline": offline, "fetch": judge.fetch_backbone}
            found[name] = with_name(
                name, lambda judge=judge, options=options: reward_model_hashes(judge.backbone.path, **options)
            )
    return found
