# shellcheck shell=bash
# The shell half of the set-up: creates .venv in the repository from pinned requirements. Sourced by
# train.sh, test.sh and tools/run_tests.sh; runtime/set_up.py prepares Jittor.
#
#   . runtime/set_up.sh
#   set_up requirements.txt [more requirement files]     returns with $VENV_PYTHON ready, or exits
#   enter train.py ARGUMENTS                             set_up, then exec that program
#
# PYTHON=/path/to/python3.12 chooses the interpreter; by default the first suitable one is used.

if [[ $- == *i* ]]; then # exiting would end the user's interactive shell
  echo "error: train.sh: expected to run as a program, got sourced. Run bash train.sh" >&2
  return 2
fi
set +o posix # if sh is bash
set -euo pipefail

# Open streams that were closed at the start: the next open file would take their number.
true 2>&2 || exec 2>/dev/null
{ true <&0; } 2>/dev/null || exec </dev/null
{ true >&1; } 2>/dev/null || exec >/dev/null
trap '' PIPE # a closed pipe must not end the work

# Whatever the umask, a program must be able to read its own files.
umask u+rwx

ROOT=$(builtin cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." >/dev/null && pwd -P)
VENV=$ROOT/.venv
VENV_PYTHON=$VENV/bin/python
VENV_PLACE=$VENV # or the target of a link, perhaps on another disk
if [[ -L $VENV ]]; then VENV_PLACE=$(readlink -m "$VENV"); fi
NEWEST_MINOR=12 # numpy < 2, which Jittor needs, has no wheels for a newer Python
OLDEST_MINOR=10

show() { printf "$@" >&2 2>/dev/null || :; } # a closed terminal must not end the work
say() { show '%s\n' "$*"; }

# Other projects' packages, or another Python's library, would take precedence over .venv.
for name in PYTHONPATH PYTHONHOME; do
  if [[ -n ${!name:-} ]]; then say "$name is ignored: the packages of .venv are used"; fi
done
unset name PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONINSPECT PYTHONPLATLIBDIR
export PYTHONNOUSERSITE=1

# Prints "MINOR<tab>HEADERS<tab>VENV<tab>PATH" of an interpreter; HEADERS and VENV are 1 or 0.
describe_python() {
  "$1" -I -c '
import importlib.util, os, sys, sysconfig
if sys.version_info[0] == 3:
    headers = os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
    venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    print(sys.version_info[1], int(headers), int(venv), os.path.realpath(sys.executable), sep="\t")
' 2>/dev/null
}

# Sets PYTHON_MINOR, PYTHON_HEADERS, PYTHON_VENV and PYTHON_PATH of a suitable interpreter, preferably
# one with headers and venv. Without a suitable one, returns 1 and lists the others in PYTHONS_SEEN.
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
  say "error: ${PYTHON:+PYTHON=}${PYTHON:-Python}: expected 3.$OLDEST_MINOR to 3.$NEWEST_MINOR, got${PYTHONS_SEEN:- none}." \
    "Run $APT python3 python3-dev python3-venv, or set PYTHON=/path/to/python3.$NEWEST_MINOR"
}

# Prints one line per missing requirement, with the command that installs it; then exits with 2.
check_machine() {
  local missing=0
  if [[ $ROOT == *[[:space:]]* ]]; then
    say "error: '$ROOT': expected a path without spaces, which Jittor's compiler needs. Move the project to another folder"
    missing=1
  fi
  if ! find_python; then
    say_no_python
    missing=1
  else
    if ((!PYTHON_HEADERS)); then
      say "error: Python headers: expected Python.h of $PYTHON_PATH, got none. Run $APT python3.$PYTHON_MINOR-dev"
      missing=1
    fi
    if ((!PYTHON_VENV)); then
      say "error: Python venv: expected venv and ensurepip of $PYTHON_PATH, got none. Run $APT python3.$PYTHON_MINOR-venv"
      missing=1
    fi
  fi
  if ! command -v "${cc_path:-g++}" >/dev/null; then
    say "error: C++ compiler: expected ${cc_path:-g++}, got none. Run $APT g++"
    missing=1
  fi
  ((!missing)) || exit 2
}

# Prints what the environment is made from: a changed line means to complete or recreate it.
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

# True if .venv can be completed: right interpreter, right place, working pip.
can_complete() {
  local here
  here=$("$VENV_PYTHON" -I -c 'import os, sys; print(os.path.realpath(sys.executable), sys.prefix)' 2>/dev/null) || return 1
  [[ $here == "$PYTHON_PATH $VENV" ]] && grep -qsF "$VENV_PLACE" "$VENV/bin/activate" && "$VENV_PYTHON" -m pip --version &>/dev/null
}

# After Ctrl-C, SIGTERM or SIGHUP: ends a command and its children, then this shell.
stop_child() { # CHILD EXIT_CODE
  trap '' HUP # a closing terminal sends it more than once
  kill -- "-$1" 2>/dev/null || :
  for _ in {1..30}; do
    if ! jobs -rp | grep -qx "$1"; then break; fi
    sleep 0.1
  done
  kill -KILL -- "-$1" 2>/dev/null || : # in case SIGTERM is ignored
  wait "$1" 2>/dev/null || :
  if [[ -t 2 ]]; then say; fi
  say "stopped; the same command resumes from here"
  exit "$2"
}

# Runs a command with its output in a log and one line of progress; on failure prints the log's end.
run_logged() { # LINE LOG COMMAND...
  local line=$1 log=$2 started=$SECONDS child status=0
  shift 2
  if [[ -t 2 ]]; then show '%s ...' "$line"; else say "$line ..."; fi
  # its own process group, so that Ctrl-C ends the command and its children
  set -m
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  # bash sets no trap for a signal that was ignored at its start
  trap 'stop_child "$child" 130' INT
  trap 'stop_child "$child" 143' TERM HUP
  while kill -0 "$child" 2>/dev/null; do
    if [[ -t 2 ]]; then show '\r%s ... %d s' "$line" $((SECONDS - started)); fi
    sleep 0.3 & # in the foreground, bash would report that a signal ended it
    wait $! || :
  done
  wait "$child" || status=$?
  trap - INT TERM HUP
  if [[ -t 2 ]]; then say; fi
  if ((status)); then
    tail -n 15 "$log" >&2 || :
    say "error: $log: expected exit code 0, got $status. Fix the cause; the same command resumes from here"
    exit 1
  fi
}

install_packages() { # REQUIREMENTS...
  local file builders arguments=()
  local pip=("$VENV_PYTHON" -m pip install --disable-pip-version-check --no-input --progress-bar off)
  # Jittor is built from source: use the pinned setuptools, not the newest one
  mapfile -t builders < <(sed -nE 's/^((setuptools|wheel)==[^ ;#]+).*/\1/p' "$ROOT/requirements.txt")
  for file in "$@"; do arguments+=(-r "$ROOT/$file"); done
  if ((${#builders[@]})); then "${pip[@]}" "${builders[@]}" || return; fi
  "${pip[@]}" --no-build-isolation "${arguments[@]}"
}

# Creates the folder of .venv, or empties it: a mount cannot be removed.
make_folder() {
  shopt -s nullglob dotglob
  rm -rf -- "$VENV_PLACE"/*
  shopt -u nullglob dotglob
  # first: it marks this folder as ours to recreate
  if ! mkdir -p "$VENV_PLACE/set-up" 2>/dev/null; then
    say "error: $VENV_PLACE: expected a writable folder. Change its permissions, or remove it"
    exit 2
  fi
}

make_environment() { # REQUIREMENTS...
  local file count log=$VENV/set-up/log.txt
  if ! can_complete; then
    if [[ -e $VENV && ! -e $VENV/set-up && -n $(ls -A "$VENV" 2>/dev/null) ]]; then
      say "error: $VENV: expected an environment with pip and $PYTHON_PATH, got one of another origin. Move it away and run this again"
      exit 2
    fi
    make_folder
    run_logged "Creating .venv with $PYTHON_PATH" "$log" "$PYTHON_PATH" -m venv "$VENV_PLACE"
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
  local lock held=0
  if [[ -z ${HOME:-} ]]; then unset HOME; fi # so that the user's entry in /etc/passwd counts
  if [[ -z ${HOME:-} ]] && command -v getent >/dev/null && ! getent passwd "$EUID" >/dev/null; then
    say "error: HOME: expected a home folder, got none in HOME or /etc/passwd. Run HOME=/some/folder bash train.sh"
    exit 2
  fi
  if is_ready "$@"; then return; fi
  check_machine
  if ! { true >>"$ROOT/.venv.lock"; } 2>/dev/null; then
    say "error: $ROOT: expected a writable folder, for .venv. Copy the project to one"
    exit 2
  fi
  # several starts at once (mpirun -np 2 bash train.sh): one works and the others wait
  exec {lock}>"$ROOT/.venv.lock"
  if command -v flock >/dev/null; then flock -n "$lock" 2>/dev/null || held=$?; fi
  if ((held == 1)); then
    say "Waiting for another start that is setting up ..."
    flock "$lock"
  elif ((held)); then
    say "warning: the file system of $ROOT has no locks: run no two set-ups at a time"
  fi
  if ! is_ready "$@"; then make_environment "$@"; fi
  exec {lock}>&-
}

# Executes a program of the repository in the environment; --help needs no set-up.
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
