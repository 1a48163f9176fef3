#!/usr/bin/env bash
# Sets up the environment (once) and makes a run's submission: bash test.sh --name RUN [flags].
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called as: sh test.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]:-$0}")")/runtime/set_up.sh" && enter test.py "$@"
