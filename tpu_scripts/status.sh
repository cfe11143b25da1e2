#!/usr/bin/env bash
# Shows the state of a slice and, if it is up, of the run on each of its workers.
#
#   tpu_scripts/status.sh --project=my-project --zone=us-west4-a --name=encore
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

parse "$@"
need PROJECT ZONE NAME

state=$(queue_state)
[[ $DRY_RUN ]] || printf 'queued resource: %s\n' "$state"
[[ $state == ACTIVE ]] || exit 0
state=$(node_state)
[[ $DRY_RUN ]] || printf 'node: %s\n' "$state"
[[ $state != READY ]] || on_workers all "${WORKER[@]}" status "$RUN"
