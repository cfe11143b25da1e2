# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables are read by the scripts that source this, and set by parse
# What encore_8b.sh and ramo_8b.sh share: steps that are done once, the work on a slice, and the steps themselves.
# Sourced, never run by itself.

# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=("${PIPELINE[@]}" ATTEMPTS BACKOFF_SECONDS GRACE_SECONDS HF_TOKEN_FILE)
SWITCHES+=(KEEP)

# begin ARGUMENT...: settings, checks, the estimate, and what was done before.
begin() {
  local called_in=$PWD
  parse "$@"
  defaults
  [[ $JUDGE == local ]] || PIPELINE_NEEDS+=(JUDGE_URL)
  need PROJECT ZONE NAME ACCELERATOR BUCKET "${PIPELINE_NEEDS[@]}"
  case ${JUDGE:=server} in
    server | local) ;;
    *) usage_error "--judge: $(quote "$JUDGE") is neither server nor local" ;;
  esac
  read -ra pairs <<<"$PAIRS"
  read -ra benchmarks <<<"$BENCHMARKS"
  read -ra judge_flags <<<"$JUDGE_FLAGS"
  read -ra train_flags <<<"$TRAIN_FLAGS"
  read -ra export_flags <<<"$EXPORT_FLAGS"
  read -ra score_flags <<<"$SCORE_FLAGS"
  mesh=(--mesh="${MESH:=tensor=8}")
  [[ $MESH != none ]] || mesh=()
  local file i names=()
  for i in "${!pairs[@]}"; do pairs[i]=$(from_here "${pairs[i]}"); done
  for i in "${!benchmarks[@]}"; do benchmarks[i]=$(from_here "${benchmarks[i]}"); done
  for file in "${pairs[@]}"; do
    [[ $file == hf://* || -f $file ]] || usage_error "--pairs: there is no file $(quote "$file")"
  done
  for file in "${benchmarks[@]}"; do
    [[ $file == hf://* || -f $file ]] || usage_error "--benchmarks: there is no file $(quote "$file")"
  done
  for file in "${benchmarks[@]}"; do
    ! contains "$(benchmark_name "$file")" "${names[@]}" || usage_error "--benchmarks: two files of one name: $file"
    names+=("$(benchmark_name "$file")")
  done
  for file in "${train_configs[@]}"; do
    [[ -f $file ]] || usage_error "there is no configuration $(quote "$file") in the checkout"
  done
  PYTHON=${PYTHON:-.venv/bin/python}
  [[ -x $PYTHON ]] || PYTHON=python3
  ATTEMPTS=${ATTEMPTS:-20}
  DATA=data/$RUN HOME_FOLDER=runs/$RUN MODEL_IN_BUCKET=$BUCKET/$RUN/export STATE=runs/$RUN/pipeline
  KEEP_SLICE=$KEEP
  export MADE_LATER=$DRY_RUN # a dry run makes no files that a later step could be given
  export "${VALUED[@]}" "${SWITCHES[@]}" # for the other scripts
  delete_command=$(quote tpu_scripts/delete.sh "${where[@]}" --name="$NAME")
  child=''
  trap 'kill "$child" 2>/dev/null || true
    note "interrupted; $NAME may still cost money. The same command resumes; $delete_command deletes the slice"
    exit 130' INT TERM
  estimate
  finished=()
  [[ $DRY_RUN ]] || recall
}

# from_here FILE: a path of the user's, as seen from the checkout.
from_here() {
  local file=$1
  [[ $file == /* || $file == hf://* ]] || file=$called_in/$file
  printf '%s' "${file#"$ROOT/"}"
}

# Prints what it will cost, roughly. Without an estimate a run begins all the same, and a dry run, which is asked for
# one, ends.
estimate() {
  local words=("$PYTHON" -m experiments.pod cost --accelerator="$ACCELERATOR") file rules=0
  [[ $JUDGE == server ]] || rules=$JUDGED_RULES
  for file in "${train_configs[@]}"; do words+=(--train="$file"); done
  for file in "${pairs[@]}"; do words+=(--pairs="$file"); done
  for file in "${benchmarks[@]}"; do words+=(--benchmark="$file"); done
  words+=(--judged-rules="$rules" ${PRICE:+--price="$PRICE"})
  [[ -z $DRY_RUN ]] || show "${words[@]}"
  interruptible env JAX_PLATFORMS=cpu "${words[@]}" </dev/null >&2 && return
  note "no estimate, for the reason above: look at --accelerator, --pairs, --benchmarks, --price and --train-config"
  [[ -z $DRY_RUN ]] || exit 1
}

# Reads which steps are finished; a run with other settings is another run.
recall() {
  local now
  mkdir -p "$STATE"
  now=$(for name in ACCELERATOR BUCKET "${PIPELINE[@]}"; do printf '%s=%s\n' "$name" "${!name}"; done)
  if [[ -f $STATE/settings ]]; then
    diff <(printf '%s\n' "$now" | grep -v '^ACCELERATOR=') <(grep -v '^ACCELERATOR=' "$STATE/settings") >&2 ||
      usage_error "$RUN was begun with other settings (above, < now, > then); use them, or another --run"
  else
    printf '%s\n' "$now" >"$STATE/settings.new"
    mv "$STATE/settings.new" "$STATE/settings"
  fi
  [[ ! -f $STATE/finished ]] || mapfile -t finished <"$STATE/finished"
}

# step NAME FUNCTION WORD...: does it, unless it is finished, and remembers that it is.
step() {
  local name=$1
  if contains "$name" "${finished[@]}"; then
    note "$name: finished before"
    return
  fi
  note "$name"
  local code=0
  "${@:2}" || code=$?
  ((code == 0)) || give_up "$name" "$code"
  [[ $DRY_RUN ]] || printf '%s\n' "$name" >>"$STATE/finished"
}

# give_up STEP CODE: deletes the slice, since nobody works on it.
give_up() {
  note "$1 failed with exit code $2; the same command resumes there"
  if [[ $KEEP_SLICE ]]; then
    note "$NAME is kept and costs money until: $delete_command"
  else
    script delete.sh || note "$NAME may still cost money; delete it: $delete_command"
  fi
  exit "$2"
}

# Runs one of the other scripts so that a signal need not wait for its end.
script() {
  KEEP=1 "$SCRIPTS/$1" "${@:2}" &
  child=$!
  wait "$child"
}

# here WORD...: a command of Python on this machine.
here() {
  if [[ $DRY_RUN ]]; then
    show "$PYTHON" "$@"
    return
  fi
  JAX_PLATFORMS=cpu "$PYTHON" "$@" </dev/null 3>&- &
  child=$!
  wait "$child"
}

# with_slice FUNCTION WORD...: makes sure that there is a slice with this checkout, calls the function, and does so
# again while the slice is taken away.
with_slice() {
  local attempt code
  for ((attempt = 1; attempt <= ATTEMPTS; attempt++)); do
    code=0
    bring_up && "$@" || code=$?
    ((code != 0)) || return 0
    if ((code != PREEMPTED)) && ! interruptible is_gone; then return "$code"; fi
    note "$NAME is gone: slice $attempt of at most $ATTEMPTS"
    script delete.sh || return
    interruptible sleep "${BACKOFF_SECONDS:-30}"
  done
  return "$PREEMPTED"
}

bring_up() {
  local state command
  ASSUMED_STATE=NONE
  interruptible_output state queue_state || return
  case $state in
    ACTIVE) # a run that this step had started before it was killed goes on: the step joins it
      ssh_command all "${WORKER[@]}" is_running
      ! interruptible "${command[@]}" </dev/null >/dev/null 2>&1 || return 0
      ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING) script delete.sh || return ;;
  esac
  ASSUMED_STATE=ACTIVE
  script create.sh --wait || return
  script setup.sh
}

# train FOLDER CONFIG FLAG...: a run on the slice, resumed on another if it is taken away; its small files come to
# runs/RUN/FOLDER.
train() {
  local run=$RUN-$1
  script train_with_resume.sh --run="$run" --results="$HOME_FOLDER/$1" --config="$2" -- "${@:3}"
}

# --- the steps

prepare_data() {
  here -m experiments.pod data --out="$DATA/pairs.jsonl" "${pairs[@]}" || return
  local file
  for file in "${benchmarks[@]}"; do run cp "$file" "$DATA/$(basename "$file")" || return; done
}

# judge FOLDER FLAG...: ratings in runs/RUN/FOLDER/rate, by a server from here, or by the slice's own devices.
judge() {
  local folder=$1
  shift
  if [[ $JUDGE == server ]]; then
    here -m encore_jax.cli.main rate "$DATA/pairs.jsonl" --workdir="$HOME_FOLDER/$folder" \
      --config.judge.model="$JUDGE_MODEL" --config.judge.server.urls="$JUDGE_URL" "$@" "${judge_flags[@]}"
  else
    train "$folder" rate_local --config.data.path="$DATA/pairs.jsonl" --config.model.path="$JUDGE_MODEL" \
      "$@" "${mesh[@]}" "${judge_flags[@]}"
  fi
}

# take FOLDER NAME...: copies a judge's files to where they go to the workers.
take() {
  local name
  for name in "${@:2}"; do run cp "$HOME_FOLDER/$1/rate/$name" "$DATA/$1-$name" || return; done
}

# Exports on worker 0, from the run's files as they came home and its checkpoints in the bucket, to the bucket.
export_model() {
  interruptible on_workers 0 mkdir -p "encore_runs/$RUN" || return
  interruptible copy 0 "runs/$RUN-train/tpu/results.tar.gz" "$NAME:encore_runs/$RUN/results.tar.gz" || return
  interruptible on_workers 0 "${WORKER[@]}" export "$RUN" "$MODEL_IN_BUCKET" "${export_flags[@]}"
}

# score FILE: the exported model on a benchmark's file.
score() {
  local file=$1 name
  name=$(benchmark_name "$file")
  interruptible on_workers all "${WORKER[@]}" fetch "$RUN" "$MODEL_IN_BUCKET" || return
  script run.sh --run="$RUN-$name" -- --config=rewardbench --config.model="../encore_models/$RUN" \
    --config.data="$DATA/$(basename "$file")" "${mesh[@]}" "${score_flags[@]}" || return
  script logs.sh --run="$RUN-$name" --to="runs/$RUN-$name/tpu/logs" --results="$HOME_FOLDER/$name"
}

benchmark_name() {
  local name
  name=$(basename "$1")
  printf 'score-%s' "${name%%.*}"
}

score_all() {
  local file
  for file in "${benchmarks[@]}"; do step "$(benchmark_name "$file")" with_slice score "$file"; done
}

make_table() {
  local file folders=()
  for file in "${benchmarks[@]}"; do folders+=("$HOME_FOLDER/$(benchmark_name "$file")"); done
  here -m experiments.pod table --out="$HOME_FOLDER/benchmarks.md" "${folders[@]}"
}

delete_slice() {
  if [[ $KEEP_SLICE ]]; then
    note "$NAME is kept and costs money until: $delete_command"
  else
    script delete.sh
  fi
}
