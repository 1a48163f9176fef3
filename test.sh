#!/usr/bin/env bash
# Sets up the environment (once) and makes a run's submission: bash test.sh --name RUN [flags].
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tools/set_up.sh"
enter test.py "$@"
