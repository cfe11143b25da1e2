#!/usr/bin/env bash
# The second paper at 8B: an adapter that predicts which rules matter, a judge asked about those alone, labels by its
# answers, a Bradley-Terry reward model trained on them, export, score, delete.
#
#   tpu_scripts/ramo_8b.sh --settings=my-slice.env --pairs='hh.jsonl pku.jsonl' --benchmarks=rewardbench.json \
#     --judge-model=NAME --judge-url=http://127.0.0.1:8000
#
# Steps, resuming and flags are those of encore_8b.sh, and
#
#   --pool            POOL            safety_100 by default
#   --rated           RATED           comparisons that the judge rates on every rule, for the adapter; 5000 by default
#   --rules           RULES           critical rules of every other comparison; 5 by default
#   --adapter-config  ADAPTER_CONFIG  experiments/configs/rule_adapter_llama32_3b.py by default
#   --train-config    TRAIN_CONFIG    experiments/configs/bt_llama31_8b.py by default
#   --adapter-flags   ADAPTER_FLAGS   more flags of the adapter's run, split at spaces
#
# The reward model starts from Skywork's, as in the paper, unless another --train-config is given.
set -euo pipefail
PIPELINE=(PAIRS BENCHMARKS JUDGE JUDGE_MODEL JUDGE_URL POOL RATED RULES ADAPTER_CONFIG TRAIN_CONFIG JUDGE_FLAGS
  ADAPTER_FLAGS TRAIN_FLAGS EXPORT_FLAGS SCORE_FLAGS MESH PRICE)
PIPELINE_NEEDS=(PAIRS BENCHMARKS JUDGE_MODEL)
JUDGED_RULES=5
# shellcheck source=tpu_scripts/pipeline.sh
source "$(dirname "${BASH_SOURCE[0]}")/pipeline.sh"

# As in experiments/configs/ramo_llama31_8b.py: from a published reward model, the paper's learning rate and epochs.
ramo_flags=(--config.model.path=hf://Skywork/Skywork-Reward-Llama-3.1-8B-v0.2 --config.model.pooling=hf
  --config.train.lr=2e-5 --config.train.epochs=2)

# The adapter's predictions, to where they go to the workers.
take_adapter() { run rm -rf "$DATA/adapter" && run cp -R "$HOME_FOLDER/adapter/adapter" "$DATA/adapter"; }

defaults() {
  POOL=${POOL:-safety_100} RATED=${RATED:-5000} RULES=${RULES:-5}
  ADAPTER_CONFIG=${ADAPTER_CONFIG:-experiments/configs/rule_adapter_llama32_3b.py}
  TRAIN_CONFIG=${TRAIN_CONFIG:-experiments/configs/bt_llama31_8b.py}
  [[ $TRAIN_CONFIG == experiments/configs/bt_llama31_8b.py ]] || ramo_flags=()
  train_configs=("$ADAPTER_CONFIG" "$TRAIN_CONFIG")
  # shellcheck disable=SC2153 # set by its name
  read -ra adapter_flags <<<"$ADAPTER_FLAGS"
}
begin "$@"

step data prepare_data
step judge judge judge --config.data.pool="$POOL" --config.data.limit="$RATED"
step merge here -m experiments.pod merge --out="$DATA/comparisons.jsonl" --pool="$POOL" "$DATA/pairs.jsonl" \
  "$HOME_FOLDER/judge/rate/comparisons.jsonl"
step adapter train adapter "$ADAPTER_CONFIG" --config.data.pool="$POOL" --config.data.path="$DATA/comparisons.jsonl" \
  "${adapter_flags[@]}"
step predictions take_adapter
step critical judge critical --config.data.pool="$POOL" --config.judge.rules_of="$DATA/adapter" \
  --config.judge.most_rules="$RULES"
step labels here -m experiments.pod labels --out="$DATA/labelled.jsonl" --pool="$POOL" \
  "$HOME_FOLDER/critical/rate/comparisons.jsonl"
step train train train "$TRAIN_CONFIG" --config.data.path="$DATA/labelled.jsonl" --config.data.format=encore \
  "${ramo_flags[@]}" "${train_flags[@]}"
step export with_slice export_model
score_all
step table make_table
step delete delete_slice
note "$RUN: $HOME_FOLDER/benchmarks.md, $HOME_FOLDER/train/report.html; the model is in gs://$MODEL_IN_BUCKET"
