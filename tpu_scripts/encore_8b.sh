#!/usr/bin/env bash
# From raw pairs to a benchmarked 8B reward model of rule heads: data, judge, train and compose, export, score, delete.
#
#   tpu_scripts/encore_8b.sh --settings=my-slice.env --pairs='hh.jsonl pku.jsonl' --benchmarks=rewardbench.json \
#     --judge-model=NAME --judge-url=http://127.0.0.1:8000
#
# An estimate of the cost comes first. Each step is done once: killed at any moment, the same command resumes; a slice
# that is taken away is replaced. Small results come to runs/RUN, the model goes to gs://BUCKET/RUN/export.
#
#   --pairs         PAIRS         raw files of comparisons (HH-RLHF, PKU-SafeRLHF, any known format), split at spaces
#   --benchmarks    BENCHMARKS    files in RewardBench's format, or any labelled comparisons, split at spaces
#   --judge         JUDGE         server (by default), asked from here; or local: the slice's own devices
#   --judge-model   JUDGE_MODEL   its name there; for local: a folder on the workers or hf://org/name
#   --judge-url     JUDGE_URL     of an OpenAI-compatible server, e.g. vLLM's
#   --pool          POOL          the rules: safety_10 by default, or a YAML file in the checkout
#   --train-config  TRAIN_CONFIG  experiments/configs/encore_llama31_8b.py by default
#   --judge-flags   JUDGE_FLAGS   more flags of the rating run, split at spaces; so with
#   --train-flags, --export-flags, --score-flags
#   --mesh          MESH          how scoring and a local judge split the model: tensor=8 by default; none
#   --price         PRICE         dollars for a chip's hour, for the estimate
#   --keep          KEEP=1        leave the slice at the end; it goes on costing money
set -euo pipefail
PIPELINE=(PAIRS BENCHMARKS JUDGE JUDGE_MODEL JUDGE_URL POOL TRAIN_CONFIG JUDGE_FLAGS TRAIN_FLAGS EXPORT_FLAGS
  SCORE_FLAGS MESH PRICE)
PIPELINE_NEEDS=(PAIRS BENCHMARKS JUDGE_MODEL)
JUDGED_RULES=10
# shellcheck source=tpu_scripts/pipeline.sh
source "$(dirname "${BASH_SOURCE[0]}")/pipeline.sh"

defaults() {
  POOL=${POOL:-safety_10}
  TRAIN_CONFIG=${TRAIN_CONFIG:-experiments/configs/encore_llama31_8b.py}
  train_configs=("$TRAIN_CONFIG")
}
begin "$@"

step data prepare_data
step judge judge judge --config.data.pool="$POOL"
step ratings take judge comparisons.jsonl rated.jsonl
step train train train "$TRAIN_CONFIG" --config.data.pool="$POOL" --config.data.path="$DATA/judge-comparisons.jsonl" \
  --config.data.ratings_path="$DATA/judge-rated.jsonl" "${train_flags[@]}"
step export with_slice export_model
score_all
step table make_table
step delete delete_slice
note "$RUN: $HOME_FOLDER/benchmarks.md, $HOME_FOLDER/train/report.html; the model is in gs://$MODEL_IN_BUCKET"
