# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # variables are read by the scripts that source this, and set by name
# The settings of the scripts: where they come from, and what they may be. Sourced by lib.sh, never run by itself.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: these scripts need bash 4.4 or newer, this is $BASH_VERSION (macOS: brew install bash)" >&2
  exit 2
fi

readonly PREEMPTED=75 # exit code of a run that saved a checkpoint because its machine is going away
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPTS=$ROOT/tpu_scripts
# Settings may come from flags, a file, or the environment. Every script knows the flags in VALUED and SWITCHES and adds
# its own: settings of OTHER_SETTINGS, and options that are flags only.
VALUED=(PROJECT ZONE NAME ACCELERATOR RUNTIME BUCKET RUN CREATE_FLAGS SSH_FLAGS POLL_SECONDS)
SWITCHES=(SPOT DRY_RUN)
OTHER_SETTINGS=(HF_TOKEN_FILE GRACE_SECONDS ATTEMPTS BACKOFF_SECONDS KEEP)
readonly SETTINGS=("${VALUED[@]}" "${SWITCHES[@]}" "${OTHER_SETTINGS[@]}")
RUN_ARGUMENTS=() # of python -m experiments.run

settings_help() {
  cat <<'EOT'

Settings, from flags, else from the file that --settings=FILE names (lines KEY=VALUE), else from the environment:
  --project       PROJECT       Google Cloud project
  --zone          ZONE          e.g. us-west4-a
  --name          NAME          of the slice: small letters, digits, dashes
  --accelerator   ACCELERATOR   v5e:8x8 (or v5e:64), v6e:4x4, v5p:2x2x4, v4:16; or v5litepod-64, v6e-16, v5p-32, v4-32
  --runtime       RUNTIME       software on the workers; by default what Cloud TPU recommends for JAX
  --spot          SPOT=1        cheaper, and may be taken away at any time
  --bucket        BUCKET        gs://BUCKET[/FOLDER] for checkpoints and logs
  --run           RUN           names the run's folders; NAME by default
  --create-flags  CREATE_FLAGS  more flags of queued-resources create, split at spaces: '--network=mine --reserved'
  --ssh-flags     SSH_FLAGS     more flags of tpu-vm ssh and scp, split at spaces: '--internal-ip'
  --poll-seconds  POLL_SECONDS  between two looks at the slice; 30 by default
  --dry-run       DRY_RUN=1     print the commands, one per line, and run none
EOT
}

note() { printf '[%(%H:%M:%S)T] %s\n' -1 "$*" >&2; }

usage_error() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# quote WORD...: one line that a shell splits into the same words again.
quote() {
  local word words=() IFS=' '
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then words+=("$word"); else words+=("${word@Q}"); fi
  done
  printf '%s' "${words[*]}"
}

contains() {
  local sought=$1 word
  shift
  for word in "$@"; do [[ $word != "$sought" ]] || return 0; done
  return 1
}

flag_of() {
  local name=${1,,}
  printf -- '--%s' "${name//_/-}"
}

# parse ARGUMENT...: sets the variables in VALUED and SWITCHES, to which a script adds its own, and, if it sets
# TAKES_RUN_ARGUMENTS, RUN_ARGUMENTS: what stands after --, and every --config and --config.FIELD.
parse() {
  local argument flag name value given=() settings_file=''
  for name in "${VALUED[@]}" "${SWITCHES[@]}"; do
    contains "$name" "${SETTINGS[@]}" || printf -v "$name" ''
  done
  while (($#)); do
    argument=$1 flag=${1%%=*}
    shift
    if [[ $argument == --help ]]; then
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      settings_help
      exit 0
    elif [[ $argument == -- && ${TAKES_RUN_ARGUMENTS:-} ]]; then
      RUN_ARGUMENTS+=("$@")
      break
    elif [[ ! $flag =~ ^--[a-z][a-z0-9_.-]*$ ]]; then
      usage_error "unexpected argument $(quote "$argument"); see --help"
    fi
    name=${flag#--} name=${name//-/_} name=${name^^}
    if contains "$name" "${SWITCHES[@]}"; then
      [[ $argument == "$flag" ]] || usage_error "$flag takes no value"
      printf -v "$name" 1
      given+=("$name")
      continue
    fi
    if [[ $argument == *=* ]]; then
      value=${argument#*=}
    else
      (($#)) || usage_error "$flag needs a value"
      value=$1
      shift
    fi
    if [[ ${TAKES_RUN_ARGUMENTS:-} && $flag =~ ^--config(\.|$) ]]; then
      RUN_ARGUMENTS+=("$flag=$value")
    elif [[ $flag == --settings ]]; then
      settings_file=$value
    elif contains "$name" "${VALUED[@]}"; then
      printf -v "$name" '%s' "$value"
      given+=("$name")
    else
      usage_error "unknown flag $flag; see --help"
    fi
  done
  [[ -z $settings_file ]] || read_settings "$settings_file" "${given[@]}"
  check_settings
}

# read_settings FILE GIVEN...: sets what the file says, except what was GIVEN as a flag.
read_settings() {
  local file=$1 line number=0 name value
  shift
  [[ -r $file ]] || usage_error "--settings: cannot read $file"
  while IFS= read -r line || [[ $line ]]; do
    ((++number))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^[[:space:]]*([A-Z_]+)=(.*)$ ]] || usage_error "$file:$number: not a line KEY=VALUE: $line"
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    contains "$name" "${SETTINGS[@]}" || usage_error "$file:$number: unknown setting $name"
    if [[ $value =~ ^\"(.*)\"[[:space:]]*$ || $value =~ ^\'(.*)\'[[:space:]]*$ ]]; then
      value=${BASH_REMATCH[1]}
    elif [[ $value =~ ^(.*[^[:space:]])[[:space:]]+$ ]]; then
      value=${BASH_REMATCH[1]}
    fi
    contains "$name" "$@" || printf -v "$name" '%s' "$value"
  done <"$file"
}

# Checks and completes what is set, and goes to the checkout; paths that the user gave stay where they were.
check_settings() {
  local name
  for name in "${VALUED[@]}" "${SWITCHES[@]}"; do printf -v "$name" '%s' "${!name:-}"; done
  for name in "${SWITCHES[@]}"; do
    case ${!name,,} in
      1 | true | yes) printf -v "$name" 1 ;;
      '' | 0 | false | no) printf -v "$name" '' ;;
      *) usage_error "$name=${!name} is neither 1 nor 0" ;;
    esac
  done
  for name in "${VALUED[@]}"; do
    [[ $name == *_SECONDS || $name == ATTEMPTS ]] || continue
    [[ ${!name} =~ ^([0-9]+(\.[0-9]+)?)?$ && ($name != ATTEMPTS || ${!name} != *.*) ]] ||
      usage_error "$(flag_of "$name"): not a number: ${!name}"
  done
  POLL_SECONDS=${POLL_SECONDS:-30}
  [[ $NAME =~ ^([a-z]([-a-z0-9]{0,61}[a-z0-9])?)?$ ]] ||
    usage_error "--name: use small letters, digits and dashes, a letter first, not $(quote "$NAME")"
  RUN=${RUN:-$NAME}
  [[ $RUN =~ ^([A-Za-z0-9][A-Za-z0-9._=,+-]*)?$ ]] ||
    usage_error "--run: use letters, digits and ._=,+- only, not $(quote "$RUN")"
  BUCKET=${BUCKET#gs://} BUCKET=${BUCKET%/}
  [[ $BUCKET =~ ^[A-Za-z0-9._/-]*$ ]] || usage_error "--bucket: not the name of a bucket: $(quote "$BUCKET")"
  for name in HF_TOKEN_FILE RESULTS LOGS TO; do
    [[ -z ${!name:-} || ${!name} == /* ]] || printf -v "$name" '%s' "$PWD/${!name}"
    [[ -z ${!name:-} ]] || printf -v "$name" '%s' "${!name#"$ROOT/"}"
  done
  [[ -z $ACCELERATOR ]] || resolve_accelerator
  LOCAL=runs/$RUN/tpu # what comes back from the workers
  where=(--project="$PROJECT" --zone="$ZONE")
  read -ra create_flags <<<"$CREATE_FLAGS"
  read -ra ssh_flags <<<"$SSH_FLAGS"
  cd "$ROOT" || exit
}

# Sets SLICE_FLAGS for gcloud, CHIPS, and RUNTIME unless given.
resolve_accelerator() {
  local shape=${ACCELERATOR#*[-:]} default
  case $ACCELERATOR in
    v5litepod[-:]* | v5e[-:]*) default=v2-alpha-tpuv5-lite ;;
    v6e[-:]*) default=v2-alpha-tpuv6e ;;
    v5p[-:]*) default=v2-alpha-tpuv5 ;;
    v4[-:]*) default=tpu-ubuntu2204-base ;;
    *) usage_error "--accelerator: $(quote "$ACCELERATOR") is not of v4, v5litepod (v5e), v5p or v6e" ;;
  esac
  RUNTIME=${RUNTIME:-$default}
  local number='[1-9][0-9]{0,5}' flat='(v5litepod|v5e|v6e)' cube='(v4|v5p)'
  if [[ $ACCELERATOR =~ ^${flat}[-:]($number)$ ]]; then
    CHIPS=${BASH_REMATCH[2]}
    flat_slice "${BASH_REMATCH[1]}"
  elif [[ $ACCELERATOR =~ ^${flat}[-:]${number}x$number$ ]]; then
    CHIPS=$((${shape//x/*}))
    flat_slice "${BASH_REMATCH[1]}"
  elif [[ $ACCELERATOR =~ ^$cube-($number)$ && $((BASH_REMATCH[2] % 2)) == 0 ]]; then # counts cores, two per chip
    CHIPS=$((BASH_REMATCH[2] / 2)) SLICE_FLAGS=(--accelerator-type="$ACCELERATOR")
  elif [[ $ACCELERATOR =~ ^$cube:($number)$ ]]; then
    CHIPS=${BASH_REMATCH[2]} SLICE_FLAGS=(--accelerator-type="${BASH_REMATCH[1]}-$((BASH_REMATCH[2] * 2))")
  elif [[ $ACCELERATOR =~ ^${cube}[-:]${number}x${number}x$number$ ]]; then
    CHIPS=$((${shape//x/*})) SLICE_FLAGS=(--type="${BASH_REMATCH[1]}" --topology="$shape")
  else
    usage_error "--accelerator: $(quote "$ACCELERATOR") is no size; use e.g. v5e:8x8, v5e:64, v6e:4x4, v5p:2x2x4," \
      "v4:16, or the cloud's v5litepod-64, v6e-16, v5p-32, v4-32"
  fi
}

# flat_slice GENERATION: sets SLICE_FLAGS for CHIPS of a generation whose sizes count chips.
flat_slice() {
  local type=v5litepod
  [[ $1 != v6e ]] || type=v6e
  SLICE_FLAGS=(--accelerator-type="$type-$CHIPS")
}

# need SETTING...: stops unless all are set.
need() {
  local name
  for name in "$@"; do
    [[ ${!name} ]] ||
      usage_error "$name is missing: give $(flag_of "$name")=... (or set $name in the --settings file or environment)"
  done
}

# given FLAG: whether it is among the arguments of the run; sets REPLY to its value, of several the last.
given() {
  local argument missing=1
  for argument in "${RUN_ARGUMENTS[@]}"; do
    [[ ${argument%%=*} == "$1" ]] || continue
    REPLY=${argument#*=} missing=0
  done
  return "$missing"
}

need_config() {
  given --config || usage_error "--config is missing: give --config=FILE"
  [[ $REPLY != /* && -f ${REPLY%%:*} ]] ||
    usage_error "--config: no file $(quote "${REPLY%%:*}") in the checkout; give its path from there"
  local flag
  for flag in --config.data.{path,ratings_path} --config.model.path --config.baselines.verdicts; do
    # what begins so is there already, or is fetched
    given "$flag" && [[ $REPLY && ! $REPLY =~ ^(/|~|\.\./|[a-z]+://) ]] || continue
    [[ $(git ls-files -co --exclude-standard -- "$REPLY") ]] ||
      usage_error "$flag: $(quote "$REPLY") does not go to the workers: not in the checkout, or ignored by git"
  done
}
