#!/usr/bin/env bash
# Starts python -m experiments.run on all workers of a slice, in tmux, waits for its end, and collects the logs.
#
#   tpu_scripts/run.sh --project=my-project --zone=us-west4-a --name=encore --bucket=gs://my-bucket \
#     --config=experiments/configs/encore_llama31_8b.py --config.train.lr=2e-6
#
# --config, --config.FIELD and everything after -- go to the run, which also gets --multihost=auto, a work directory
# (~/encore_runs/RUN/work, of worker 0), and --checkpoints=gs://BUCKET/RUN/checkpoints if there is a bucket.
# The exit code is the run's: 0, 75 if it was preempted (or the slice is gone), or what made it fail. If this script is
# interrupted, the run goes on; --attach waits for it again.
#
#   --attach         start nothing, wait for the run that is going on
#   --detach         start the run and return
#   --grace-seconds  GRACE_SECONDS  how long the other workers may go on after one failed; 180 by default
#   --logs           folder for the logs; runs/RUN/tpu/logs by default
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=(GRACE_SECONDS LOGS)
SWITCHES+=(ATTACH DETACH)
TAKES_RUN_ARGUMENTS=1
parse "$@"
if [[ $ATTACH ]]; then
  need PROJECT ZONE NAME
else
  need PROJECT ZONE NAME --config
  need_config
fi
GRACE_SECONDS=${GRACE_SECONDS:-180}
LOGS=${LOGS:-$LOCAL/logs}
export "${VALUED[@]}" "${SWITCHES[@]}" # for logs.sh

start() {
  local arguments=("${RUN_ARGUMENTS[@]}") upload=-
  given --multihost || arguments+=(--multihost=auto)
  given --workdir || arguments+=("--workdir=../encore_runs/$RUN/work") # the run starts in ~/encore_jax
  if [[ $BUCKET ]]; then
    given --config.train.checkpoints || given --checkpoints ||
      arguments+=("--checkpoints=gs://$BUCKET/$RUN/checkpoints")
    upload=$BUCKET/$RUN/logs
  elif ! given --config.train.checkpoints && ! given --checkpoints; then
    note "without --bucket checkpoints stay on the workers: one worker only, and lost with the slice"
  fi
  on_workers all "${WORKER[@]}" start "$RUN" "$upload" "${arguments[@]}"
}

# verdict REPORT: from the workers' lines, sets `ended` ('' while all is well, else the exit code that counts: that of
# the worker that failed first), `cause` (that worker) and `running` (whether any still is).
verdict() {
  local tag worker state code at first='' failed=''
  ended='' running=''
  while read -r tag worker state code at; do
    [[ $tag == encore-status ]] || continue
    case $state in
      running) running=1 ;;
      exit)
        ended=${ended:-0}
        ((code != 0)) || continue
        if [[ -z $first ]] || ((at < first || at == first && code == PREEMPTED)); then
          failed=$code first=$at cause=$worker
        fi
        ;;
      *) failed=$PREEMPTED first=0 cause=$worker ;; # its machine was started anew: the run is gone
    esac
  done <<<"$1"
  ended=${failed:-$ended}
}

# Waits for the end of the run; returns its exit code.
wait_for_end() {
  local report unreachable=0 failing='' command ended running
  ssh_command all "${WORKER[@]}" status "$RUN"
  while :; do
    if report=$(GCLOUD_TRIES=1 ask 'encore-status 0 exit 0 0' "${command[@]}"); then
      unreachable=0
      verdict "$report"
      [[ $ended || $running ]] || fail "the workers' answer makes no sense: $report"
      if [[ $ended && -z $running ]]; then
        [[ $ended == 0 ]] || note "$RUN: worker $cause ended with exit code $ended"
        ssh_command all "${WORKER[@]}" settle # the log is on its way to the bucket, and the slice may be deleted now
        [[ $DRY_RUN ]] || "${command[@]}" </dev/null >/dev/null 2>&1 || true
        return "$ended"
      fi
      if [[ $ended && $ended != 0 ]]; then
        failing=${failing:-$SECONDS}
        if ((SECONDS - failing >= ${GRACE_SECONDS%.*})); then
          note "worker $cause ended with exit code $ended; stopping the others"
          on_workers all "${WORKER[@]}" stop "$RUN" || true
          return "$ended"
        fi
      fi
    elif is_gone; then
      return "$PREEMPTED"
    elif ((++unreachable >= 20)); then
      note "the slice is up but does not answer; the run may still be going on there (--attach): taken as preempted"
      return "$PREEMPTED"
    fi
    sleep "$POLL_SECONDS"
  done
}

start_and_wait() {
  [[ $ATTACH ]] || start || return
  [[ $DETACH ]] || wait_for_end
}

code=0 cause=0
start_and_wait || code=$?
if ((code != 0 && code != PREEMPTED)); then
  for look in 1 2 3; do # a slice that is being taken away can make a run fail before the service says so
    ((look == 1)) || sleep "$POLL_SECONDS"
    if GCLOUD_TRIES=240 is_gone; then
      note "$NAME is gone: $RUN was preempted"
      code=$PREEMPTED
      break
    fi
  done
fi
if [[ -z $DETACH ]]; then
  [[ $DRY_RUN ]] || note "$RUN: exit code $code"
  if ! GCLOUD_TRIES=1 "$SCRIPTS/logs.sh" --to="$LOGS"; then
    note "the logs could not be collected"
  elif ((code != 0)); then
    tail -n 20 "$LOGS/worker-$cause.log" >&2
  fi
fi
exit "$code"
