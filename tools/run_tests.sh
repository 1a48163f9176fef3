#!/usr/bin/env bash
# Sets up the environment (once) and runs the tests: bash tools/run_tests.sh [pytest's arguments].
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called as: sh tools/run_tests.sh

run_tests() { # ARGUMENTS
  set_up requirements.txt tools/requirements-dev.txt
  cd "$ROOT"
  # before pytest, which would hide the progress of Jittor's compilation
  "$VENV_PYTHON" -m runtime.set_up --device cpu
  exec "$VENV_PYTHON" -m pytest "$@"
}

. "$(dirname "$(readlink -f "${BASH_SOURCE[0]:-$0}")")/../runtime/set_up.sh" && run_tests "$@"
