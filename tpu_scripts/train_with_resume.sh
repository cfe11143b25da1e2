#!/usr/bin/env bash
# Trains to the end on slices that may be taken away: creates a slice, sets it up, runs, and after a preemption deletes
# it and does so again; the run goes on from its checkpoints in the bucket. Settings and arguments as for run.sh.
#
#   tpu_scripts/train_with_resume.sh --settings=my-slice.env --spot --config=experiments/configs/encore_llama31_8b.py
#
# Ends with 0 when the run is done; with the run's exit code when it failed; with 75 when it was preempted as often as
# was allowed. The slice is then deleted, after logs and results were copied here. If this script is interrupted, slice
# and run go on: started again, it joins them.
#
#   --attempts         ATTEMPTS         slices to try; 20 by default
#   --backoff-seconds  BACKOFF_SECONDS  pause after a preemption; 30 by default, doubled, at most five times, after
#                                       attempts shorter than ten minutes
#   --keep             KEEP=1           leave the slice when the run is done or has failed; it goes on costing money
#   --results          folder for the results, runs/RUN by default
#   --grace-seconds    GRACE_SECONDS    as for run.sh
#   --hf-token-file    HF_TOKEN_FILE    as for setup.sh
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=(ATTEMPTS BACKOFF_SECONDS GRACE_SECONDS HF_TOKEN_FILE RESULTS)
SWITCHES+=(KEEP)
TAKES_RUN_ARGUMENTS=1
parse "$@"
need PROJECT ZONE NAME ACCELERATOR BUCKET --config
need_config
ATTEMPTS=${ATTEMPTS:-20} BACKOFF_SECONDS=${BACKOFF_SECONDS:-30}
RESULTS=${RESULTS:-runs/$RUN}
export "${VALUED[@]}" "${SWITCHES[@]}" # for the other scripts

delete_command=$(quote tpu_scripts/delete.sh "${where[@]}" --name="$NAME")
child=''
trap 'kill "$child" 2>/dev/null || true
  note "interrupted; $NAME may still cost money. The same command joins it again; $delete_command deletes it"
  exit 130' INT TERM

# Runs one of the other scripts so that a signal need not wait for its end.
script() {
  "$SCRIPTS/$1" "${@:2}" &
  child=$!
  wait "$child"
}

# Makes sure that the slice is up; PREEMPTED if it will not be. Sets `attach` if the run is going on there.
bring_up() {
  local state report command code=0
  attach=''
  ASSUMED_STATE=NONE
  interruptible_output state queue_state || return
  case $state in
    ACTIVE)
      ssh_command all "${WORKER[@]}" status "$RUN"
      if interruptible_output report "${command[@]}" </dev/null 2>/dev/null && [[ $report == *" running"* ]]; then
        attach=--attach
      fi
      ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING) script delete.sh || return ;;
  esac
  script create.sh --wait || code=$?
  if ((code != 0 && $1 > 1)); then code=$PREEMPTED; fi # the settings are good: the first slice could be created
  return "$code"
}

# Sets the slice up; workers that have just come up may not answer yet.
set_up() {
  local try code=0
  for try in 1 2 3; do
    if script setup.sh; then return 0; else code=$?; fi
    ! interruptible is_gone || return "$PREEMPTED"
    note "setting up failed (exit $code, try $try of 3)"
    ((try == 3)) || interruptible sleep "$POLL_SECONDS"
  done
  return "$code"
}

# One slice from its creation to the end of the run on it; returns the run's exit code.
attempt() {
  bring_up "$1" || return
  ASSUMED_STATE=ACTIVE
  [[ $attach ]] || set_up || return
  script run.sh --logs="$LOCAL/attempt-$1" ${attach:+"$attach"} -- "${RUN_ARGUMENTS[@]}"
}

finish() {
  local code=$1 complete=1
  if ((code == 0)); then script logs.sh --to="$LOCAL/logs" --results="$RESULTS" || complete=''; fi
  if [[ $KEEP || -z $complete ]]; then
    note "$NAME is kept and costs money until: $delete_command"
    [[ $complete ]] || fail "the run is done, but its results could not be copied here"
  else
    script delete.sh || fail "$NAME may still cost money; delete it: $delete_command"
  fi
  exit "$code"
}

ASSUMED_STATE=NONE
interruptible queue_state >/dev/null || fail "gcloud cannot be asked about $NAME"
export GCLOUD_TRIES=240 # from here on, what fails is likely to work later
pause=$BACKOFF_SECONDS doubled=0
for ((number = 1; number <= ATTEMPTS; number++)); do
  note "$RUN: slice $number of at most $ATTEMPTS"
  began=$SECONDS code=0
  attempt "$number" || code=$?
  ((code == PREEMPTED)) || finish "$code"
  note "$RUN: preempted"
  script delete.sh || fail "$NAME may still cost money; delete it: $delete_command"
  ((number < ATTEMPTS)) || break
  if ((SECONDS - began >= 600)); then pause=$BACKOFF_SECONDS doubled=0; fi
  interruptible sleep "$pause"
  if ((doubled++ < 5)); then pause=$(awk -v pause="$pause" 'BEGIN { print 2 * pause }'); fi
done
note "$RUN: preempted $ATTEMPTS times; the same command goes on from the last checkpoint"
exit "$PREEMPTED"
