"""Small files in the native schemas of HANNA, LLMBar and LLM-Rubric, made up."""

import csv
import json

import numpy as np

CRITERIA = ("RE", "CH", "EM", "SU", "EG", "CX")


def write_hanna(folder, prompts=6, systems=4, judges=("ChatGPT", "Llama-13B"), seed=0):
    """Returns people's ratings ``[systems, prompts, raters, criteria]`` and the judges', by column."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(systems, prompts))
    human = np.clip(np.round(3 + quality[:, :, None, None] + rng.normal(size=(systems, prompts, 2, 6))), 1, 5)
    rated = {}
    for judge in judges:
        for k, criterion in enumerate(CRITERIA):
            noise = rng.normal(size=(systems, prompts))
            rated[f"{judge} {criterion} 1"] = np.clip(np.round(3 * (3 + quality + (0.3 + 0.3 * k) * noise)) / 3, 1, 5)
    rated[f"{judges[0]} RE 1"][0, 0] = -1 / 3  # an answer that failed
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "hanna_metric_scores_llm.csv", "w", newline="") as file:
        writer = csv.writer(file)
        averages = [f"{judges[0]} AVG 1", "Human Avg 1 RE", "BLEU"]
        people = [f"Human {rater} {criterion}" for rater in (1, 2) for criterion in CRITERIA]
        writer.writerow(["Model", *people, *rated, *averages])
        for s in range(systems):
            cells = [human[s, :, i // 6, i % 6].tolist() for i in range(12)] + [x[s].tolist() for x in rated.values()]
            writer.writerow([f"system {s}", *map(json.dumps, cells), *["not read"] * 3])
    return human, rated


def write_llmbar(folder, pairs=30, seed=0):
    """Returns ratings ``[pairs, 2, judges]``; the last judge gave none in the first pair."""
    rng = np.random.default_rng(seed)
    names = ["A/Rating", "A/Other", "B/Rating", "B/Other"]
    rows = np.clip(np.round(5 + np.array([1.0, -1.0])[:, None] + 2 * rng.normal(size=(pairs, 2, 4))), 0, 10)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "judges.json").write_text(json.dumps(names))
    lines = [
        {"id": str(i), "subset": "x", "chosen": r[0].tolist(), "rejected": r[1].tolist()} for i, r in enumerate(rows)
    ]
    lines[0]["chosen"][3] = None
    (folder / "ratings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return rows


def write_llm_rubric(folder, part="real", dialogues=20, seed=0):
    """Returns the LLM's probabilities ``[dialogues, questions, 4]`` and people's overall answers by dialogue."""
    from encore_jax.data.readers.llm_rubric import LLM_RUBRIC_FILES

    rng = np.random.default_rng(seed)
    llm, people = (folder / name for name in LLM_RUBRIC_FILES[part])
    shares = rng.dirichlet(np.ones(4), (dialogues, 4))
    overall = rng.integers(1, 5, dialogues + 1)
    folder.mkdir(parents=True, exist_ok=True)
    with open(llm, "w") as file:
        file.write("text_id\tcriterion\tsample_llm\tanswer1_prob\tanswer2_prob\tanswer3_prob\tanswer4_prob\n")
        for d, q in np.ndindex(dialogues, 4):
            file.write(f"d{d}\tQ{q}\t1\t" + "\t".join(map(str, shares[d, q])) + "\n")
    with open(people, "w") as file:
        file.write("text_id\tQ1\tQ0\tannotator_id\n")
        file.writelines(f"d{d}\t1\t{answer}\t7\n" for d, answer in enumerate(overall))
    return shares, overall


def write_all(folder):
    """All three data sets, each in a folder of its own; LLM-Rubric's real part only."""
    write_hanna(folder / "hanna")
    write_llmbar(folder / "llmbar")
    write_llm_rubric(folder / "rubric")
