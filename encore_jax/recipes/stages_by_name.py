"""What recipes call, by name: a stage's module is imported when the recipe comes to the stage, and not before.

So a recipe reads like a script, and whoever imports it, plans it, is refused by it or stops after its first stage
(``--until``) loads nothing of the others.
"""

from encore_jax.lazy import deferred

_HOME = {
    "encore_jax.recipes.stages.ablation": (
        "decide_all",
        "prepare",
    ),
    "encore_jax.recipes.stages.ablation_report": (
        "report_ablation",
        "show_ablation",
    ),
    "encore_jax.recipes.stages.ablation_source": (
        "AblationSource",
        "Reading",
        "check_readable",
    ),
    "encore_jax.recipes.stages.adapter": (
        "adopt_adapter",
        "train_adapter",
    ),
    "encore_jax.recipes.stages.agreement": (
        "agreement",
        "report_agreement",
        "show_agreement",
    ),
    "encore_jax.recipes.stages.arms": ("label",),
    "encore_jax.recipes.stages.audit": (
        "audit",
        "publish_audit",
    ),
    "encore_jax.recipes.stages.baselines": ("baselines",),
    "encore_jax.recipes.stages.benchmark": (
        "evaluate_benchmark",
        "report_benchmark",
        "score_benchmark",
        "show_benchmark",
    ),
    "encore_jax.recipes.stages.benchmark_data": (
        "BenchmarkData",
        "read_benchmark",
    ),
    "encore_jax.recipes.stages.compose": ("compose",),
    "encore_jax.recipes.stages.evaluate": ("evaluate",),
    "encore_jax.recipes.stages.frozen": ("frozen_features",),
    "encore_jax.recipes.stages.halo": (
        "halo",
        "show_halo",
    ),
    "encore_jax.recipes.stages.ingest": ("ingest",),
    "encore_jax.recipes.stages.joint": ("train_joint",),
    "encore_jax.recipes.stages.joint_results": (
        "evaluate_joint",
        "report_joint",
        "show_joint",
    ),
    "encore_jax.recipes.stages.judge": ("rate_by_judge",),
    "encore_jax.recipes.stages.judges": (
        "Rules",
        "judge_of",
        "local_judge",
    ),
    "encore_jax.recipes.stages.panel": (
        "ingest_panel",
        "members_of",
        "rate_panel",
        "tables_of",
    ),
    "encore_jax.recipes.stages.panel_report": (
        "measure_panel",
        "report_panel",
        "show_panel",
    ),
    "encore_jax.recipes.stages.preferences": ("train_preferences",),
    "encore_jax.recipes.stages.ramo_results": (
        "evaluate_adapter",
        "evaluate_ramo",
        "report_ramo",
        "show_ramo",
    ),
    "encore_jax.recipes.stages.rate": ("rate",),
    "encore_jax.recipes.stages.rating_report": (
        "report_ratings",
        "show_ratings",
    ),
    "encore_jax.recipes.stages.report": (
        "report",
        "show",
    ),
    "encore_jax.recipes.stages.reward_arms": ("train_arms",),
    "encore_jax.recipes.stages.rule_ratings": ("rate_rules",),
    "encore_jax.recipes.stages.score": ("score",),
    "encore_jax.recipes.stages.text_features": ("text_features",),
    "encore_jax.recipes.stages.theory": (
        "check_claims",
        "report_theory",
        "show_theory",
    ),
    "encore_jax.recipes.stages.train": ("train",),
    "encore_jax.recipes.stages.verdicts": (
        "judge_pairs",
        "report_verdicts",
        "show_verdicts",
    ),
}
__all__, __getattr__ = deferred(__name__, _HOME)
