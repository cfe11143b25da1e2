#!/usr/bin/env bash
# Deletes a slice and its queued resource, so that neither costs money nor counts against the quota any longer.
#
#   tpu_scripts/delete.sh --project=my-project --zone=us-west4-a --name=encore
#
# What is on the workers' disks is lost; checkpoints in the bucket stay. Deleting what is not there is no error.
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

parse "$@"
need PROJECT ZONE NAME

# What is being suspended cannot be deleted at once, so this tries for a while.
for ((try = 0; try < 20; try++)); do
  state=$(queue_state)
  case $state in
    NONE)
      note "$NAME: deleted"
      exit 0
      ;;
    DELETING) ;;
    *)
      if run gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet; then
        ASSUMED_STATE=NONE
        continue
      fi
      ;;
  esac
  sleep "$POLL_SECONDS"
done
fail "$NAME could not be deleted and may cost money; it is $state"
