#!/usr/bin/env bash
# Copies this checkout (tracked and new files, not what git ignores) to all workers of a slice, installs what it needs,
# and checks that JAX sees every chip. Safe to repeat.
#
#   tpu_scripts/setup.sh --project=my-project --zone=us-west4-a --name=encore --accelerator=v5e:8x8
#
#   --hf-token-file  HF_TOKEN_FILE  a file with a Hugging Face token, for gated models; copied to where their library
#                                   looks for it
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=(HF_TOKEN_FILE)
parse "$@"
need PROJECT ZONE NAME ACCELERATOR
[[ -z $HF_TOKEN_FILE || -r $HF_TOKEN_FILE ]] || usage_error "--hf-token-file: cannot read $HF_TOKEN_FILE"

gone=$(git ls-files --deleted) || fail "$ROOT is no git checkout"
[[ -z $gone ]] || fail "deleted files are still tracked; git rm or restore them first: ${gone//$'\n'/ }"
run mkdir -p "$LOCAL"
archive=$LOCAL/checkout.tar.gz
# shellcheck disable=SC2016 # the inner shell expands its own argument
run bash -c 'set -o pipefail; git ls-files -zco --exclude-standard | tar -czf "$1" --null -T -' pack "$archive"
copy all "$archive" "$NAME:encore_jax.tar.gz"
unless_busy='if bash encore_jax/tpu_scripts/worker.sh is_running 2>/dev/null; then
  echo "a run is going on here" >&2; exit 1; fi'
on_workers all bash -c \
  "$unless_busy; rm -rf encore_jax && mkdir encore_jax && tar -xzf encore_jax.tar.gz -C encore_jax"
if [[ $HF_TOKEN_FILE ]]; then
  on_workers all bash -c 'umask 077 && mkdir -p .cache/huggingface && : >.cache/huggingface/token'
  copy all "$HF_TOKEN_FILE" "$NAME:.cache/huggingface/token"
fi
on_workers all "${WORKER[@]}" install
on_workers all "${WORKER[@]}" devices "$CHIPS"
