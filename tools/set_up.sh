# shellcheck shell=bash
# The shell half of the set-up: makes .venv in the repository from pinned requirements. Sourced by
# train.sh, test.sh and tools/run_tests.sh; what Jittor needs besides is tools/set_up.py's part.
#
#   . tools/set_up.sh
#   set_up requirements.txt [more requirement files]     returns with $VENV_PYTHON ready, or exits
#   enter train.py ARGUMENTS                             set_up, then become that program
#
# PYTHON=/path/to/python3.12 chooses the interpreter; else the first one that fits is taken.

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
VENV=$ROOT/.venv
VENV_PYTHON=$VENV/bin/python
NEWEST_MINOR=12 # numpy < 2, which Jittor needs, has no wheels for a newer Python
OLDEST_MINOR=10

say() { printf '%s\n' "$*" >&2; }

# Prints "MINOR<tab>HEADERS<tab>VENV<tab>PATH" of an interpreter, 1 or 0 for the two in the middle.
describe_python() {
  "$1" -I -c '
import importlib.util, os, sys, sysconfig
if sys.version_info[0] == 3:
    headers = os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
    venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    print(sys.version_info[1], int(headers), int(venv), os.path.realpath(sys.executable), sep="\t")
' 2>/dev/null
}

# Sets PYTHON_MINOR, PYTHON_HEADERS, PYTHON_VENV and PYTHON_PATH; without one that fits, returns 1 with
# what there is in PYTHONS_SEEN. Of those that fit, one with headers and venv is preferred.
find_python() {
  local name line minor headers venv path found=
  PYTHONS_SEEN=
  local names=(python3 python3.12 python3.11 python3.10 python)
  if [[ -n ${PYTHON:-} ]]; then names=("$PYTHON"); fi
  for name in "${names[@]}"; do
    line=$(describe_python "$name") && [[ -n $line ]] || continue
    IFS=$'\t' read -r minor headers venv path <<<"$line"
    if ((minor < OLDEST_MINOR || minor > NEWEST_MINOR)); then
      PYTHONS_SEEN+=" $path (3.$minor)"
      continue
    fi
    if [[ -z $found ]] || ((headers && venv)); then
      PYTHON_MINOR=$minor PYTHON_HEADERS=$headers PYTHON_VENV=$venv PYTHON_PATH=$path
      found=1
    fi
    if ((headers && venv)); then break; fi
  done
  [[ -n $found ]]
}

APT="apt-get install"
((EUID == 0)) || APT="sudo $APT"

say_no_python() {
  say "error: Python 3.$OLDEST_MINOR to 3.$NEWEST_MINOR is needed, ${PYTHON:+PYTHON=$PYTHON, }found${PYTHONS_SEEN:- none}:" \
    "$APT python3 python3-dev python3-venv, or name one: PYTHON=/path/to/python3.$NEWEST_MINOR"
}

# One line for each thing that is missing, with the command that installs it; then exit 2.
check_machine() {
  local missing=0
  if [[ $ROOT == *[[:space:]]* ]]; then
    say "error: the path '$ROOT' has a space, with which Jittor cannot compile: move the project elsewhere"
    missing=1
  fi
  if ! find_python; then
    say_no_python
    missing=1
  else
    if ((!PYTHON_HEADERS)); then
      say "error: $PYTHON_PATH has no headers (Python.h): $APT python3.$PYTHON_MINOR-dev"
      missing=1
    fi
    if ((!PYTHON_VENV)); then
      say "error: $PYTHON_PATH has no venv module with pip (ensurepip): $APT python3.$PYTHON_MINOR-venv"
      missing=1
    fi
  fi
  if ! command -v "${cc_path:-g++}" >/dev/null; then
    say "error: no C++ compiler (${cc_path:-g++}), which Jittor needs: $APT g++"
    missing=1
  fi
  ((!missing)) || exit 2
}

# What the environment was made from: it is remade or completed when a line of this changes.
describe_environment() { # REQUIREMENTS
  printf 'requirements %s\n' "$(sha256sum <"$ROOT/$1")"
  "$VENV_PYTHON" -I -c 'import os, sys
print("python 3.%d" % sys.version_info[1], os.path.realpath(sys.executable))
print("folder", sys.prefix)' 2>/dev/null
}

stamp_of() { printf '%s/set-up/%s' "$VENV" "${1//\//-}"; }

is_ready() { # REQUIREMENTS...
  local file
  [[ -x $VENV_PYTHON ]] || return 1
  for file in "$@"; do
    [[ "$(cat "$(stamp_of "$file")" 2>/dev/null)" == "$(describe_environment "$file")" ]] || return 1
  done
  if [[ -n ${PYTHON:-} ]]; then
    find_python && [[ $("$VENV_PYTHON" -I -c 'import os, sys; print(os.path.realpath(sys.executable))') == "$PYTHON_PATH" ]]
  fi
}

# True where .venv can be completed as it is: right interpreter, right place, working pip.
can_complete() {
  local here
  here=$("$VENV_PYTHON" -I -c 'import os, sys; print(os.path.realpath(sys.executable), sys.prefix)' 2>/dev/null) || return 1
  [[ $here == "$PYTHON_PATH $VENV" ]] && grep -qsF "$VENV" "$VENV/bin/activate" && "$VENV_PYTHON" -m pip --version &>/dev/null
}

# Runs a command with its output in a log and one line of progress; on failure shows the log's end.
run_logged() { # LINE LOG COMMAND...
  local line=$1 log=$2 started=$SECONDS child status=0
  shift 2
  if [[ -t 2 ]]; then printf '%s ...' "$line" >&2; else say "$line ..."; fi
  # a process group of its own, so that Ctrl-C here ends the command and whatever it has started
  set -m
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  trap 'kill -- "-$child" 2>/dev/null; wait "$child" || true; say; exit 130' INT TERM
  while kill -0 "$child" 2>/dev/null; do
    if [[ -t 2 ]]; then printf '\r%s ... %d s' "$line" $((SECONDS - started)) >&2; fi
    sleep 0.3
  done
  wait "$child" || status=$?
  trap - INT TERM
  if [[ -t 2 ]]; then say; fi
  if ((status)); then
    tail -n 15 "$log" >&2
    say "error: that failed with exit code $status, the whole log is $log; the same command goes on from here"
    exit 1
  fi
}

install_packages() { # REQUIREMENTS...
  local file builders arguments=()
  local pip=("$VENV_PYTHON" -m pip install --disable-pip-version-check --no-input --progress-bar off)
  # Jittor comes as source: build it with the pinned setuptools, not with whatever is newest that day
  mapfile -t builders < <(sed -nE 's/^((setuptools|wheel)==[^ ;#]+).*/\1/p' "$ROOT/requirements.txt")
  for file in "$@"; do arguments+=(-r "$ROOT/$file"); done
  if ((${#builders[@]})); then "${pip[@]}" "${builders[@]}" || return; fi
  "${pip[@]}" --no-build-isolation "${arguments[@]}"
}

make_environment() { # REQUIREMENTS...
  local file count log=$VENV/set-up/log.txt
  if ! can_complete; then
    if [[ -e $VENV && ! -e $VENV/set-up && -n $(ls -A "$VENV" 2>/dev/null) ]]; then
      say "error: $VENV was not made here and does not fit (needs pip and $PYTHON_PATH): move it away, then run this again"
      exit 2
    fi
    rm -rf "$VENV"
    mkdir -p "$VENV/set-up" # first of all: it tells that this folder is ours to remake
    run_logged "Making .venv with $PYTHON_PATH" "$log" "$PYTHON_PATH" -m venv "$VENV"
  fi
  mkdir -p "$VENV/set-up"
  for file in "$@"; do rm -f "$(stamp_of "$file")"; done
  count=$(cat "${@/#/$ROOT/}" | grep -c '^[^#]*==')
  run_logged "Installing $count packages into .venv (once, a minute or two)" "$log" install_packages "$@"
  for file in "$@"; do
    describe_environment "$file" >"$(stamp_of "$file").new"
    mv "$(stamp_of "$file").new" "$(stamp_of "$file")"
  done
}

set_up() { # REQUIREMENTS...
  local lock
  if is_ready "$@"; then return; fi
  check_machine
  # several starts at once (mpirun -np 2 bash train.sh): one works, the others wait and find it done
  exec {lock}>"$ROOT/.venv.lock"
  if command -v flock >/dev/null && ! flock -n "$lock"; then
    say "Waiting for another start that is setting up ..."
    flock "$lock"
  fi
  if ! is_ready "$@"; then make_environment "$@"; fi
  exec {lock}>&-
}

# Becomes a program of the repository, in the environment; --help is answered without a set-up.
enter() { # PROGRAM ARGUMENTS...
  local program=$ROOT/$1 argument
  shift
  for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
      if [[ -x $VENV_PYTHON ]] && "$VENV_PYTHON" -c '' 2>/dev/null; then
        exec "$VENV_PYTHON" "$program" --help
      fi
      find_python || { say_no_python; exit 2; }
      exec "$PYTHON_PATH" "$program" --help
    fi
  done
  set_up requirements.txt
  exec "$VENV_PYTHON" "$program" "$@"
}
