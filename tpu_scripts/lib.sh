# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are read by the scripts that source this
# What the scripts share: settings, dry runs, and the calls of gcloud. Sourced, never run by itself.

# shellcheck source=tpu_scripts/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
exec 3>&1 # the script's own stdout, also within $(...)

show() { printf '%s\n' "$(quote "$@")" >&3; }

# run COMMAND...: runs it, or shows it in a dry run.
run() { if [[ $DRY_RUN ]]; then show "$@"; else "$@" </dev/null 3>&-; fi; }

# interruptible WORD...: a command or function in the background, and waits for it: a trap runs at once, and ends it.
interruptible() {
  "$@" &
  child=$!
  wait "$child"
}

# interruptible_output VARIABLE WORD...: the same, and sets the variable to the few lines that are printed.
interruptible_output() {
  local printed ended=0
  exec {printed}< <("${@:2}")
  child=$!
  wait "$child" || ended=$?
  IFS= read -r -d '' "$1" <&"$printed" || true
  exec {printed}<&-
  printf -v "$1" '%s' "${!1%$'\n'}"
  return "$ended"
}

# ask ASSUMED COMMAND...: prints what the command prints, tried GCLOUD_TRIES times; a dry run prints ASSUMED.
GCLOUD_TRIES=${GCLOUD_TRIES:-1}
ask() {
  local assumed=$1 try=1 code
  shift
  if [[ $DRY_RUN ]]; then
    show "$@"
    printf '%s\n' "$assumed"
    return
  fi
  until "$@" </dev/null 3>&-; do
    code=$?
    ((try++ < GCLOUD_TRIES)) || return "$code"
    note "failed (exit $code), trying again in $POLL_SECONDS s: $(quote "${@:1:5}")"
    sleep "$POLL_SECONDS"
  done
}

# Prints the state of the queued resource: NONE, WAITING_FOR_RESOURCES, PROVISIONING, ACTIVE, SUSPENDED, FAILED...
ASSUMED_STATE=${ASSUMED_STATE:-ACTIVE} # in a dry run
queue_state() {
  local state
  state=$(ask "$ASSUMED_STATE" gcloud compute tpus queued-resources list "${where[@]}" \
    --filter="name~\"/$NAME\$\"" --format='value(state.state)') || return
  printf '%s\n' "${state:-NONE}"
}

# Prints the state of the slice's node: NONE, READY, PREEMPTED, ...
node_state() {
  local state
  state=$(ask READY gcloud compute tpus tpu-vm list "${where[@]}" \
    --filter="name~\"/$NAME\$\"" --format='value(state)') || return
  printf '%s\n' "${state:-NONE}"
}

# Whether the service says that the slice is no more; false as well while it cannot be asked.
is_gone() {
  local state
  state=$(queue_state) || return 1
  [[ $state == ACTIVE ]] || return 0
  state=$(node_state) || return 1
  [[ ! $state =~ ^(READY|CREATING|STARTING|RESTARTING|REPAIRING|REIMAGING|UNKNOWN)$ ]]
}

# wait_until_active: 0 when the slice is up, PREEMPTED when it will not be, else the failure of gcloud.
wait_until_active() {
  local state shown=''
  while :; do
    state=$(queue_state) || return
    [[ $state == "$shown" ]] || note "$NAME: $state"
    shown=$state
    case $state in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING | NONE) return "$PREEMPTED" ;;
    esac
    sleep "$POLL_SECONDS"
  done
}

# ssh_command WORKERS WORD...: sets the array `command` that runs the words on these workers (a number, or all).
ssh_command() {
  command=(gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker="$1" --quiet "${ssh_flags[@]}")
  command+=(--command="$(quote "${@:2}")")
}

# on_workers WORKERS WORD...: runs a command on workers.
on_workers() {
  local command
  ssh_command "$@"
  run "${command[@]}"
}

# copy WORKERS FROM TO: to workers, or from one of them.
copy() { run gcloud compute tpus tpu-vm scp "$2" "$3" "${where[@]}" --worker="$1" --quiet "${ssh_flags[@]}"; }

WORKER=(bash encore_jax/tpu_scripts/worker.sh)
