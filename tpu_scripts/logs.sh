#!/usr/bin/env bash
# Copies every worker's log of a run here, and with --results what the run found out.
#
#   tpu_scripts/logs.sh --project=my-project --zone=us-west4-a --name=encore --results=runs/encore
#
#   --to       folder for the logs, runs/RUN/tpu/logs by default: worker-0.log, worker-1.log, ...
#   --results  folder for results.json, report.html and other small files of the run's work directory
#   --follow   copy nothing; show worker 0's log as it grows
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=(TO RESULTS)
SWITCHES+=(FOLLOW)
parse "$@"
need PROJECT ZONE NAME
TO=${TO:-$LOCAL/logs}

if [[ $FOLLOW ]]; then
  on_workers 0 tail -n 50 -F "encore_runs/$RUN/run.log"
  exit
fi

failed=0 copying=()
wait_for_copies() {
  local process
  for process in "${copying[@]}"; do wait "$process" || failed=1; done
  copying=()
}

workers=$(ask 1 gcloud compute tpus tpu-vm describe "$NAME" "${where[@]}" --format='value(networkEndpoints.len())')
run mkdir -p "$TO"
for ((worker = 0; worker < workers; worker++)); do
  copy "$worker" "$NAME:encore_runs/$RUN/run.log" "$TO/worker-$worker.log" &
  copying+=($!)
  ((${#copying[@]} < 8)) || wait_for_copies
done
wait_for_copies
if [[ $RESULTS ]]; then
  run mkdir -p "$RESULTS"
  on_workers 0 "${WORKER[@]}" pack "$RUN"
  copy 0 "$NAME:encore_runs/$RUN/results.tar.gz" "$LOCAL/results.tar.gz"
  run tar -xzf "$LOCAL/results.tar.gz" -C "$RESULTS"
fi
((!failed)) || fail "not every log could be copied to $TO"
[[ $DRY_RUN ]] || note "logs are in $TO${RESULTS:+, results in $RESULTS}"
