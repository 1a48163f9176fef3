#!/usr/bin/env bash
# Sets up the environment (once) and trains. Without arguments it generates the demo dataset, trains
# schedule `quick` on it and makes the submission. `bash train.sh --help` lists every flag.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called as: sh train.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]:-$0}")")/runtime/set_up.sh" && enter train.py "$@"
