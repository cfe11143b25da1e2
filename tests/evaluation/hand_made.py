"""Made-up results in the shape of results.json: no number here was measured."""

RULES = ("violence", "self_harm", "refusal")


def interval(value, width=0.1):
    return {"value": value, "low": value - width, "high": value + width}


def hand_made_test(p=0.03):
    return {
        "better": 9,
        "worse": 4,
        "mcnemar_p": p / 2,
        "prompt_p": p,
        "holm_p": 2 * p,
        "bh_p": 1.5 * p,
        "discordance": 0.3,
        "design": 1.5,
        "needed": 35321.7,
    }


def hand_made_method(name, sees, accuracy, draw_sd=0.0):
    subsets = {"hate": (40, accuracy), "rare <subset>": (3, 1.0)}
    return {
        "name": name,
        "sees": sees,
        "oracle": sees == "test labels",
        "draw_sd": draw_sd,
        "n": 43,
        "correct": 43 * accuracy - 1,
        "ties": 2.0,
        "accuracy": interval(accuracy),
        "accuracy_ties_wrong": accuracy - 1 / 43,
        "subset_mean": interval(accuracy + 0.01),
        "minus_uniform": interval(accuracy - 0.7, 0.05),
        "test": None if name == "uniform" else hand_made_test(),
        "subsets": {
            s: {"n": n, "correct": n * a, "ties": 0.0, "accuracy": interval(a)} for s, (n, a) in subsets.items()
        },
    }


def hand_made_view(name="heads", label="human-rated", rules=RULES):
    """A view of made-up numbers in the shape of `evaluate_view`'s."""
    methods = [
        hand_made_method("ENCORE", "ratings", 0.6543),
        hand_made_method("uniform", "nothing", 0.7),
        hand_made_method("random (Dirichlet)", "nothing", 0.65, draw_sd=0.0321),
        hand_made_method("lowest-1 entropy", "ratings", 0.61),
        hand_made_method("Bradley-Terry weights", "train labels", 0.77),
        hand_made_method("best of all", "test labels", 0.79),
        *(hand_made_method(f"single: {rule}", "nothing", 0.8 - 0.05 * k) for k, rule in enumerate(rules)),
        hand_made_method("heuristic: shorter", "text", 0.52),
    ]
    return {
        "name": name,
        "label": label,
        "description": f"What the view {name} is.",
        "comparisons": {"train": 71, "test": 43},
        "prompts": {"train": 17, "test": 13},
        "settings": {"tau": 2.0, "levels": 11, "bins": 0, "estimator": "plug_in", "normalize": "none", "draws": 1000},
        "warnings": [f"Rules of {name} are rated on <different> grids"],
        "premise": {
            "verdict": "does not hold",
            "reasons": ["r is positive & that is the reason", "a second reason"],
            "r": 0.54,
            "fisher": [0.14, 0.87],
            "bootstrap": [0.22, 0.71],
            "rules": len(rules),
            "leave_one_out": {rule: 0.1 + 0.2 * k for k, rule in enumerate(rules)},
            "variants": {"as configured": [0.54, 0.14, 0.87], "2 levels": [-0.31, -0.8, 0.4]},
            "weight_ratio": 2.4,
            "effective_rules": 2.7,
            "distance_from_uniform": 0.105,
            "gain": interval(-0.0457, 0.05),
            "policies": {"half": [0.54, 0.14, 0.87], "wrong": [0.83, 0.4, 0.95], "decided": [-0.42, -0.8, 0.1]},
            "tie_rate": 0.237,
            "r_tie_rate": -0.962,
        },
        "rules": [
            {
                "name": rule,
                "n": 20 + k,
                "entropy": 0.5 + k / 7,
                "bins": 2 + k,
                "mean": 0.6,
                "variance": 0.05,
                "histogram": [10, 0, 0, 0, 0, k, 0, 0, 0, 0, 10],
                "accuracy": interval(0.8 - 0.05 * k),
                "accuracy_ties_wrong": 0.79 - 0.05 * k,
                "accuracy_decided": 0.8123 - 0.05 * k,
                "ties": k,
                "comparisons": 43,
                "weight": (3 - k) / 6,
                "loading": interval(0.7 - 0.3 * k),
            }
            for k, rule in enumerate(rules)
        ],
        "methods": methods,
        "weighting": "ENCORE",
        "agreement": {
            "verdict": "the pool splits",
            "recommendation": f"Use equal weights in {name}. The pool <splits>.",
            "refused": "the pool <splits>",
            "effective_rules": 1.7,
            "follows": [],
            "follows_by": "",
        },
        "refused": [
            {"name": name, "sees": "scores", "why": "the pool <splits>"}
            for name in ("agreement", "critical rules × loading")
        ],
        "pairs": [
            {"first": "ENCORE", "second": "uniform", "difference": -0.0457} | hand_made_test(0.01),
            {"first": "ENCORE", "second": "best of all", "difference": -0.1357} | hand_made_test(0.0001),
        ],
        "sensitivity": {"tau": [0.5, 2.0], "levels": [2, 11], "accuracy": [[0.61, 0.62], [0.63, 0.6543]]},
    }


def hand_made_study(sign=1):
    """Two noise models; with one r < 0 and (times sign) a gain, with the other r > 0 and (times sign) a loss."""

    def model(direction):
        gain = [{"mean": [0.01 * direction, 0.05 * direction], "sd": [0.001, 0.01]} for _ in range(2)]
        r = [0.5 * -direction * sign, 0.9 * -direction * sign]
        return {
            "correlation": {"mean": r, "sd": [0.1, 0.05]},
            "uniform": {"mean": [0.9, 0.8], "sd": [0, 0]},
            "gain": gain,
            "agreement": {"mean": [0.02, 0.03], "sd": [0.001, 0.01]},
        }

    noise = {"guess": model(1), "shrink": model(-1)}
    return {"judges": 5, "best": 0.05, "worst": [0.25, 0.95], "tau": [2.0, 0.2], "draws": 100, "noise": noise}


def hand_made_results():
    """Three views, one of each kind, and a noise study."""
    views = [hand_made_view(), hand_made_view("judges", "semi-synthetic"), hand_made_view("other", "model-rated")]
    return {
        "name": "hand-made",
        "views": views,
        "noise_study": hand_made_study(),
        "counts": {
            "ingest": {
                "rated_responses": 321,
                "comparisons": 200,
                "rated_rows": "330 rows: 321 kept, 9 skipped",
                "rated_rows_skipped": {"blank response": 9},
                "comparison_rows_skipped": {},
                "sources": {"wheel": "ab" * 32},
            },
            "train": {"tokens": 5000, "comparisons_dropped_too_long": 86, "a_new_count": 4},
        },
        "passport": {
            "model": "tiny.gguf",
            "model_sha256": "cd" * 32,
            "template_sha256": "ef" * 32,
            "pooling": "last",
            "dtype": "float32",
            "max_length": 128,
            "rules": list(RULES),
        },
        "config": {
            "name": "hand-made",
            "data": {"source": "pyrit", "pool": "three", "path": "https://example.org/pairs.jsonl"},
            "semi_synthetic": {"judges": 5, "noise": "guess", "best": 0.05, "worst": 0.95, "levels": 11, "draws": 100},
            "evaluate": {"replicates": 2000},
        },
        "seeds": {"seed": 7},
        "versions": {"python": "3.11", "encore_jax": "0.1.0", "jax": "0.10.2"},
        "device": "1 x cpu",
    }


def as_before_agreement(results):
    """Takes away from results what older versions did not write."""
    for view in results["views"]:
        for name in ("agreement", "refused", "weighting"):
            del view[name]
        for rule in view["rules"]:
            del rule["loading"]
