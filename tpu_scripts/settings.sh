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
VALUED=(PROJECT ZONE NAME ACCELERATOR RUNTIME BUCKET RUN NETWORK SUBNETWORK SERVICE_ACCOUNT RESERVATION VALID_UNTIL
  CREATE_FLAGS SSH_FLAGS POLL_SECONDS)
SWITCHES=(SPOT RESERVED DRY_RUN)
OTHER_SETTINGS=(HF_TOKEN_FILE GRACE_SECONDS ATTEMPTS BACKOFF_SECONDS KEEP
  IMAGE NAMESPACE QUEUE POD_ACCOUNT HF_SECRET SLICES RESTARTS GRACE
  PAIRS BENCHMARKS JUDGE JUDGE_MODEL JUDGE_URL POOL RATED RULES ADAPTER_CONFIG TRAIN_CONFIG JUDGE_FLAGS ADAPTER_FLAGS
  TRAIN_FLAGS EXPORT_FLAGS SCORE_FLAGS MESH PRICE)
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
  --reserved      RESERVED=1    from any reservation of the project that matches
  --reservation   RESERVATION   from this one: its name, or projects/OWNER/reservations/NAME
  --valid-until   VALID_UNTIL   how long the request may wait for chips, e.g. 12h; for ever by default
  --network       NETWORK       VPC network of the workers; default by default
  --subnetwork    SUBNETWORK    of that network
  --service-account  SERVICE_ACCOUNT  of the workers; it writes to the bucket; by default Compute Engine's
  --bucket        BUCKET        gs://BUCKET[/FOLDER] for checkpoints and logs
  --run           RUN           names the run's folders; NAME by default
  --create-flags  CREATE_FLAGS  more flags of queued-resources create, split at spaces: '--internal-ips --tags=tpu'
  --ssh-flags     SSH_FLAGS     more flags of tpu-vm ssh and scp, split at spaces: '--internal-ip'
  --poll-seconds  POLL_SECONDS  between two looks at the slice; 30 by default
  --dry-run       DRY_RUN=1     print the commands, one per line, and run none
EOT
}

note() { printf '[%(%H:%M:%S)T] %s%s\n' -1 "${DRY_RUN:+dry run, would say: }" "$*" >&2; }

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
    case $name in
      *_SECONDS | PRICE) check_number "$name" 0 999999 '(\.[0-9]+)?' ;;
      ATTEMPTS | RULES | SLICES) check_number "$name" 1 999999 ;;
      RATED | RESTARTS | GRACE) check_number "$name" 0 999999 ;;
    esac
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
  [[ -z $SPOT || -z $RESERVED$RESERVATION ]] ||
    usage_error "--spot and --reserved or --reservation exclude each other: leave one out"
  [[ $VALID_UNTIL =~ ^([0-9]+[smhd])*$ ]] || usage_error "--valid-until: write e.g. 12h, not $(quote "$VALID_UNTIL")"
  LOCAL=runs/$RUN/tpu # what comes back from the workers
  where=(--project="$PROJECT" --zone="$ZONE")
  read -ra create_flags <<<"$CREATE_FLAGS"
  read -ra ssh_flags <<<"$SSH_FLAGS"
  cd "$ROOT" || exit
}

# check_number NAME LEAST MOST DECIMALS: that it is a number between these, or nothing, and does not begin with a zero,
# which bash would take for an octal one.
check_number() {
  local value=${!1}
  [[ $value ]] || return 0
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,5})${4:-}$ ]] || ((${value%.*} < $2)); then
    usage_error "$(flag_of "$1"): not a number from $2 to $3: $(quote "$value")"
  fi
}

# Shapes of the generations' slices, as encore_jax/parallel/slices.py has them (a test compares the two).
FLAT_SHAPES=(1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16)
CUBE_SHAPES=(2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16 16x16x16)

# Sets GENERATION (v4, v5e, v5p, v6e), TOPOLOGY and CHIPS, SLICE_FLAGS for gcloud, and RUNTIME unless given.
resolve_accelerator() {
  if [[ $ACCELERATOR =~ ^([1-9][0-9]{0,2})x(v.+)$ ]]; then
    local slices=${BASH_REMATCH[1]} one=${BASH_REMATCH[2]}
    [[ " ${VALUED[*]} " == *" SLICES "* ]] ||
      usage_error "--accelerator: $(quote "$ACCELERATOR") is $slices slices, and this script asks for one;" \
        "tpu_scripts/jobset.sh starts a run on several (GKE)"
    [[ ${SLICES:-$slices} == "$slices" ]] || usage_error "--slices=$SLICES, and --accelerator says $slices"
    SLICES=$slices ACCELERATOR=$one
  fi
  local default cores=1 type shape chips size=${ACCELERATOR#*[-:]} shapes=("${FLAT_SHAPES[@]}")
  GENERATION=${ACCELERATOR%%[-:]*}
  [[ $GENERATION != v5litepod ]] || GENERATION=v5e
  type=$GENERATION
  case $GENERATION${ACCELERATOR//[^-:]/} in
    v5e[-:]) default=v2-alpha-tpuv5-lite type=v5litepod ;;
    v6e[-:]) default=v2-alpha-tpuv6e ;;
    v5p[-:]) default=v2-alpha-tpuv5 cores=2 shapes=("${CUBE_SHAPES[@]}") ;;
    v4[-:]) default=tpu-ubuntu2204-base cores=2 shapes=("${CUBE_SHAPES[@]}") ;;
    *)
      usage_error "--accelerator: $(quote "$ACCELERATOR") is not of v4, v5litepod (v5e), v5p or v6e; write e.g. v5e:8x8"
      ;;
  esac
  RUNTIME=${RUNTIME:-$default}
  local counted=1 # by -, the cloud's own sizes count cores
  [[ $ACCELERATOR == *:* ]] || counted=$cores
  for shape in "${shapes[@]}"; do
    chips=$((${shape//x/*}))
    [[ $size == "$shape" || $size == $((chips * counted)) ]] || continue
    TOPOLOGY=$shape CHIPS=$chips SLICE_FLAGS=(--accelerator-type="$type-$((chips * cores))")
    [[ $size != *x*x* ]] || SLICE_FLAGS=(--type="$type" --topology="$shape")
    return
  done
  usage_error "--accelerator: $(quote "$ACCELERATOR") is no size of a slice; write $GENERATION:SHAPE or" \
    "$GENERATION:CHIPS, with one of the shapes ${shapes[*]}"
}

# need SETTING...: stops unless all are set, and names all that are missing. --FLAG is one of the run's arguments.
need() {
  local name missing=() flags=()
  for name in "$@"; do
    if [[ $name == --* ]]; then
      given "$name" || missing+=("$name") flags+=("$name=FILE")
    elif [[ -z ${!name} ]]; then
      missing+=("$name") flags+=("$(flag_of "$name")=...")
    fi
  done
  ((${#missing[@]})) || return 0
  name=${missing[-1]}
  if ((${#missing[@]} == 1)); then
    [[ $name != --* ]] || usage_error "$name is missing: give ${flags[*]}"
    usage_error "$name is missing: give ${flags[*]} (or set $name in the --settings file, as" \
      "tpu_scripts/settings.example, or environment)"
  fi
  unset 'missing[-1]'
  local IFS=,
  local list="${missing[*]} and $name" IFS=' '
  usage_error "${list//,/, } are missing: give ${flags[*]} (or set the names in capitals in the --settings file, as" \
    "tpu_scripts/settings.example, or environment)"
}

# given FLAG: whether it is among the arguments of the run; sets REPLY to its value, of several the last.
given() {
  local argument absent=1
  for argument in "${RUN_ARGUMENTS[@]}"; do
    [[ ${argument%%=*} == "$1" ]] || continue
    REPLY=${argument#*=} absent=0
  done
  return "$absent"
}

# Checks that the run's configuration and data go to the workers; the configuration is a file or a shipped name.
need_config() {
  given --config || usage_error "--config is missing: give --config=FILE"
  local file=${REPLY%%:*} place
  if [[ $file =~ ^[A-Za-z0-9_]+$ ]]; then
    for place in experiments/configs encore_jax/recipes/configs; do
      [[ ! -f $place/$file.py ]] || file=$place/$file.py
    done
  fi
  [[ $file != /* && -f $file ]] ||
    usage_error "--config: no file $(quote "$file") in the checkout; give its path from there, or a shipped name"
  local flag
  for flag in --config.data{,.path,.ratings_path} --config.model{,.path} --config.judge.rules_of \
    --config.baselines.verdicts; do
    # what begins so is there already, or is fetched
    given "$flag" && [[ $REPLY && ! $REPLY =~ ^(/|~|\.\./|[a-z]+://) ]] || continue
    [[ ${MADE_LATER:-} || $(git ls-files -co --exclude-standard -- "$REPLY") ]] ||
      usage_error "$flag: $(quote "$REPLY") does not go to the workers: not in the checkout, or ignored by git"
  done
}
