#!/usr/bin/env bash
# Sets up the environment (once) and trains; without arguments: draws the demo dataset, trains the
# schedule `quick` on it and makes the submission. `bash train.sh --help` lists every flag.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called as: sh train.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]:-$0}")")/tools/set_up.sh" && enter train.py "$@"
