#!/usr/bin/env bash
# What happens on each worker of a slice; the other scripts call it over ssh.
#
#   worker.sh install                       Python, tmux and the checkout's requirements
#   worker.sh devices CHIPS                 fails unless JAX sees so many chips in the whole slice
#   worker.sh start RUN UPLOAD ARGUMENT...  python -m experiments.run ARGUMENT... in tmux; its log is copied to the
#                                           folder gs://UPLOAD when it ends, unless UPLOAD is -
#   worker.sh status RUN                    one line: encore-status WORKER running|exit CODE TIME|lost|none
#   worker.sh is_running                    whether any run is going on; waits while the log of one that ended is copied
#   worker.sh settle                        waits while the log of a run that ended is copied
#   worker.sh stop RUN                      SIGTERM, which makes a run save a checkpoint; later SIGKILL
#   worker.sh pack RUN                      the results in one file, to be copied away: all but features and checkpoints
#   worker.sh export RUN UPLOAD FLAG...     the model of the run whose packed results lie here, to gs://UPLOAD
#   worker.sh fetch RUN UPLOAD              that model to ~/encore_models/RUN
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$HOME/encore_jax_venv
runs=$HOME/encore_runs
session=encore

fail() {
  printf 'worker %s: %s\n' "$(worker)" "$*" >&2
  exit 1
}

# Prints the worker's number in the slice; GKE tells it by TPU_WORKER_ID, a TPU VM by its metadata.
worker() {
  if [[ ${TPU_WORKER_ID:-} ]]; then
    printf '%s' "$TPU_WORKER_ID"
  else
    curl -sf -m 10 -H 'Metadata-Flavor: Google' \
      http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number || hostname
  fi
}

# Whether a run is going on: in tmux, or left behind by a session that was killed, which does not end the program.
is_running() { tmux has-session -t "=$session" 2>/dev/null || is_left_behind; }

is_left_behind() {
  local process
  process=$(cat "$runs/$(current_run)/process" 2>/dev/null) && grep -qs experiments.run "/proc/$process/cmdline"
}

# A run that is over still has its session while its log is copied to the bucket: waits for that.
until_ended() {
  local waited
  for ((waited = 0; waited < 1200; waited++)); do
    [[ -f $runs/$(current_run)/exit_code ]] && is_running || return 0
    sleep 0.25
  done
}

current_run() { cat "$runs/current" 2>/dev/null || true; }

install() {
  cd "$checkout"
  command -v tmux >/dev/null || sudo apt-get -qq -o DPkg::Lock::Timeout=300 install -y tmux
  # The runtimes' own Python is 3.10, too old; uv brings 3.11, which the constraints are made for.
  python3 -m uv --version >/dev/null 2>&1 || python3 -m pip install --quiet --user uv
  [[ -x $venv/bin/python ]] || python3 -m uv venv --quiet --python 3.11 "$venv"
  python3 -m uv pip install --quiet --python "$venv/bin/python" -c constraints.txt -e '.[tpu]'
  "$venv/bin/python" -c 'import jax; print("jax", jax.__version__, flush=True)'
}

devices() {
  "$venv/bin/python" - "$1" <<'PYTHON'
import sys

import jax

jax.distributed.initialize()
seen, wanted = jax.device_count(), int(sys.argv[1])
kind = jax.devices()[0].device_kind
place = f"process {jax.process_index()} of {jax.process_count()}"
print(f"{place}: {jax.local_device_count()} of {seen} x {kind}", flush=True)
sys.exit(0 if seen == wanted and jax.default_backend() == "tpu" else f"error: the slice should have {wanted} chips")
PYTHON
}

start() {
  local run=$1 folder=$runs/$1
  shift
  mkdir -p "$folder"
  printf '%s\0' "$@" >"$folder/arguments.new"
  until_ended
  if is_running; then
    if [[ $(current_run) != "$run" ]] || ! cmp -s "$folder/arguments.new" "$folder/arguments"; then
      fail "another run, or this one with other arguments, is going on: $(current_run)"
    fi
    echo "worker $(worker): $run is running already"
    return
  fi
  mv "$folder/arguments.new" "$folder/arguments"
  rm -f "$folder/exit_code" "$folder/process"
  printf '%s' "$run" >"$runs/current"
  tmux new-session -d -s "$session" "$(printf 'exec bash %q supervise %q' "$checkout/tpu_scripts/worker.sh" "$run")"
  echo "worker $(worker): $run started"
}

# Inside tmux: runs the program, and keeps its exit code and the time. A machine that goes away sends every process
# SIGTERM, and those of a session SIGHUP. Neither must end this shell before the program has saved its checkpoint;
# SIGHUP is ignored here, and thereby by the program as well.
supervise() {
  local run=$1 folder=$runs/$1 code=0 upload arguments
  mapfile -d '' -t arguments <"$folder/arguments"
  upload=${arguments[0]} arguments=("${arguments[@]:1}")
  trap : TERM
  trap '' HUP
  cd "$checkout"
  printf '=== %(%F %T)T python -m experiments.run %s\n' -1 "${arguments[*]@Q}" >>"$folder/run.log"
  (
    printf '%s' "$BASHPID" >"$folder/process"
    exec env PYTHONUNBUFFERED=1 "$venv/bin/python" -m experiments.run "${arguments[@]}"
  ) </dev/null >>"$folder/run.log" 2>&1 || code=$?
  printf '=== %(%F %T)T exit code %s\n' -1 "$code" >>"$folder/run.log"
  printf '%s %(%s)T\n' "$code" -1 >"$folder/exit_code.new"
  mv "$folder/exit_code.new" "$folder/exit_code"
  if [[ $upload != - ]]; then
    gcloud storage cp "$folder/run.log" "gs://$upload/$(date +%Y%m%dT%H%M%S)-worker-$(worker).log" || true
  fi
}

status() {
  local run=$1 folder=$runs/$1 running='' what=lost
  ! is_running || running=1 # before the exit code is looked for: it is written before the session ends
  if [[ -f $folder/exit_code ]]; then
    what="exit $(<"$folder/exit_code")"
  elif [[ $running && $(current_run) == "$run" ]]; then
    what=running
  elif [[ ! -d $folder ]]; then
    what=none
  fi
  printf 'encore-status %s %s\n' "$(worker)" "$what"
}

stop() {
  local run=$1 folder=$runs/$1 process waited
  is_running && [[ $(current_run) == "$run" ]] || return 0
  process=$(cat "$folder/process")
  kill -TERM "$process" 2>/dev/null || true
  for ((waited = 0; waited < 60; waited++)); do
    is_running || return 0
    sleep 1
  done
  kill -KILL "$process" 2>/dev/null || true
}

pack() {
  cd "$runs/$1/work"
  find . -maxdepth 2 -type f -size -512M ! -path './features/*' ! -name 'features.*' ! -path './checkpoints*' \
    ! -path './.process-*' ! -name '.lock' ! -name 'journal.*' -print0 |
    tar -czf "$runs/$1/results.tar.gz" --null -T -
}

# A process of its own on the CPU: the chips of a slice work only for all of its hosts together. Weights go from the
# checkpoint to the files tensor by tensor.
export_model() {
  local run=$1 upload=$2 folder=$runs/$1
  shift 2
  rm -rf "${folder:?}/home"
  mkdir -p "$folder/home"
  tar -xzf "$folder/results.tar.gz" -C "$folder/home"
  cd "$checkout"
  JAX_PLATFORMS=cpu "$venv/bin/python" -m encore_jax.cli.main export --workdir="$folder/home" --out="$folder/export" \
    --overwrite "$@"
  gcloud storage rsync --recursive --delete-unmatched-destination-objects "$folder/export" "gs://$upload"
}

fetch() {
  mkdir -p "$HOME/encore_models/$1"
  gcloud storage rsync --recursive --delete-unmatched-destination-objects "gs://$2" "$HOME/encore_models/$1"
}

case ${1:-} in
  install | devices | start | supervise | status | stop | pack | fetch) "$@" ;;
  is_running) until_ended && is_running ;;
  settle) until_ended ;;
  export) export_model "${@:2}" ;;
  *)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
