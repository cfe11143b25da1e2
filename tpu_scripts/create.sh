#!/usr/bin/env bash
# Asks for a TPU slice, as a queued resource, and returns at once; with --wait, when the slice is there.
#
#   tpu_scripts/create.sh --project=my-project --zone=us-west4-a --name=encore --accelerator=v5e:8x8 --spot --wait
#
# A slice costs money from ACTIVE until it is deleted (delete.sh), whether it works or not. Asked for what is there
# already, or is on its way, this changes nothing.
#
#   --wait   until the slice is up; exit code 75 if it will not be
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SWITCHES+=(WAIT)
parse "$@"
need PROJECT ZONE NAME ACCELERATOR

ASSUMED_STATE=NONE
state=$(queue_state)
case $state in
  NONE)
    gcloud=(gcloud)
    [[ -z $SPOT ]] || SLICE_FLAGS+=(--spot)
    [[ -z $RESERVED ]] || SLICE_FLAGS+=(--reserved)
    if [[ $RESERVATION ]]; then
      gcloud+=(alpha) # a reservation by name is known to this track alone
      SLICE_FLAGS+=(--reservation="$RESERVATION")
    fi
    [[ -z $NETWORK ]] || SLICE_FLAGS+=(--network="$NETWORK")
    [[ -z $SUBNETWORK ]] || SLICE_FLAGS+=(--subnetwork="$SUBNETWORK")
    [[ -z $SERVICE_ACCOUNT ]] || SLICE_FLAGS+=(--service-account="$SERVICE_ACCOUNT")
    [[ -z $VALID_UNTIL ]] || SLICE_FLAGS+=(--valid-until-duration="$VALID_UNTIL")
    run "${gcloud[@]}" compute tpus queued-resources create "$NAME" --node-id="$NAME" "${where[@]}" \
      "${SLICE_FLAGS[@]}" --runtime-version="$RUNTIME" "${create_flags[@]}"
    ;;
  FAILED | SUSPENDED | SUSPENDING | DELETING)
    fail "$NAME is $state; delete it first: $(quote tpu_scripts/delete.sh "${where[@]}" --name="$NAME")"
    ;;
  *) note "$NAME is there already: $state" ;;
esac
ASSUMED_STATE=ACTIVE
[[ -z $WAIT ]] || GCLOUD_TRIES=240 wait_until_active
