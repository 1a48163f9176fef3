"""The shell scripts: one line per missing requirement; the environment is created once, whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# the commands of a bare system
TEXT_COMMANDS = ("cat", "grep", "sed", "tail", "sha256sum")
FILE_COMMANDS = ("dirname", "flock", "ls", "mkdir", "mv", "readlink", "rm")
COMMANDS = ("bash", "sleep", *TEXT_COMMANDS, *FILE_COMMANDS)

# a repository with an environment, the variables of its creation, and the output
Made = tuple[Path, dict[str, str], list[str]]


def copy_shells(folder: Path, requirements: str = "demo-package==1.0\n") -> Path:
    """A small repository with the real scripts and a train.py that prints its arguments."""
    (folder / "runtime").mkdir(parents=True)
    for name in ("train.sh", "test.sh", "runtime/set_up.sh"):
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "requirements.txt").write_text(requirements)
    for name in ("train.py", "test.py"):
        (folder / name).write_text(
            "import os, sys\nprint(os.path.basename(sys.argv[0]), sys.argv[1:], sys.prefix)\n"
        )
    return folder


def wheel(folder: Path, version: str = "1.0") -> Path:
    """A folder from which pip installs the one required package, without a network."""
    folder.mkdir(exist_ok=True)
    info = f"demo_package-{version}.dist-info"
    files = {
        "demo_package.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: demo-package\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"demo_package-{version}-py3-none-any.whl", "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return folder


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path),
        "PYTHON": os.path.realpath(sys.executable),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        **more,
    }


def start(
    repository: Path, env: dict[str, str], *arguments: str, program: str = "train.sh"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(repository / program), *arguments],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    """A repository whose environment two simultaneous starts created, and their output."""
    tmp_path = tmp_path_factory.mktemp("shell")
    repository = copy_shells(tmp_path / "repository")
    wheel(tmp_path / "wheels")
    env = environment(tmp_path)
    starts = [
        subprocess.Popen(
            ["bash", str(repository / "train.sh"), "--name", "two words"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    output = []
    for process in starts:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        output += [out, err]
    yield repository, env, output


def stub_path(tmp_path: Path, *, python: str, compiler: bool) -> str:
    """A PATH with little more than a python3 with a given description."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COMMANDS:
        real = shutil.which(name)
        if real:
            (folder / name).symlink_to(real)
    if python:
        (folder / "python3").write_text(f"#!/bin/sh\nprintf '{python}\\n'\n")
        (folder / "python3").chmod(0o755)
    if compiler:
        (folder / "g++").symlink_to("/bin/true")
    return str(folder)


@pytest.mark.parametrize(
    ("python", "compiler", "expected"),
    [
        ("11\\t1\\t1\\t/usr/bin/python3.11", False, ["apt-get install g++"]),
        ("11\\t0\\t1\\t/usr/bin/python3.11", True, ["apt-get install python3.11-dev"]),
        ("10\\t1\\t0\\t/usr/bin/python3.10", True, ["apt-get install python3.10-venv"]),
        (
            "12\\t0\\t0\\t/usr/bin/python3.12",
            False,
            ["install python3.12-dev", "install python3.12-venv", "install g++"],
        ),
        (
            "13\\t1\\t1\\t/usr/bin/python3.13",
            True,
            ["expected 3.10 to 3.12, got /usr/bin/python3.13 (3.13). Run"],
        ),
        (
            "9\\t1\\t1\\t/usr/bin/python3.9",
            False,
            ["got /usr/bin/python3.9 (3.9)", "install g++"],
        ),
        ("", True, ["Python: expected 3.10 to 3.12, got none. Run"]),
    ],
)
def test_a_missing_requirement_is_one_line_with_its_command(
    tmp_path: Path, python: str, compiler: bool, expected: list[str]
) -> None:
    repository = copy_shells(tmp_path / "repository")
    env = environment(tmp_path, PATH=stub_path(tmp_path, python=python, compiler=compiler))
    del env["PYTHON"]
    done = start(repository, env)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert line.startswith("error: ") and part in line
    assert not (repository / ".venv").exists()


def test_a_path_with_a_space_is_refused_first(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "my repository")
    done = start(repository, environment(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: '{repository}': expected a path without spaces")
    assert not (repository / ".venv").exists()


def test_an_interpreter_with_headers_is_preferred(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    path = Path(stub_path(tmp_path, python="11\\t0\\t0\\t/first", compiler=False))
    (path / "python3.10").write_text("#!/bin/sh\nprintf '10\\t1\\t1\\t/second\\n'\n")
    (path / "python3.10").chmod(0o755)
    env = environment(tmp_path, PATH=str(path))
    del env["PYTHON"]
    done = start(repository, env)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "g++" in line]


def test_two_starts_create_one_environment(made: Made) -> None:
    repository, _, output = made
    everything = "".join(output)
    assert everything.count("Creating .venv") == 1
    assert everything.count("Installing 1 packages") == 1
    call = f"train.py ['--name', 'two words'] {repository / '.venv'}\n"
    assert output[0] == output[2] == call


def test_a_second_start_takes_less_than_a_second(
    made: Made,
) -> None:
    repository, env, _ = made
    for program in ("train.sh", "test.sh"):
        started = time.monotonic()
        done = start(repository, env, "--seed", "1", program=program)
        assert time.monotonic() - started < 1
        assert done.returncode == 0
        assert done.stdout.startswith(program.replace(".sh", ".py") + " ['--seed', '1']")
        assert done.stderr == ""


def test_an_interrupted_installation_is_completed(
    made: Made,
) -> None:
    repository, env, _ = made
    (repository / ".venv/set-up/requirements.txt").unlink()
    package = next((repository / ".venv").glob("lib/*/site-packages/demo_package.py"))
    info = next(package.parent.glob("demo_package*.dist-info"))
    package.unlink()
    shutil.rmtree(info)
    done = start(repository, env)
    assert done.returncode == 0
    assert "Creating" not in done.stderr and "Installing" in done.stderr
    assert package.is_file()


def test_new_requirements_are_installed_and_failures_explained(made: Made, tmp_path: Path) -> None:
    repository, env, _ = made
    old = (repository / "requirements.txt").read_text()
    (repository / "requirements.txt").write_text("demo-package==2.0\n")
    failed = start(repository, env)
    assert failed.returncode == 1
    assert "No matching distribution found for demo-package==2.0" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert failed.stdout == ""
    wheel(tmp_path / "more wheels", "2.0")
    # PIP_FIND_LINKS is split at spaces
    (tmp_path / "more wheels").rename(tmp_path / "more")
    done = start(repository, {**env, "PIP_FIND_LINKS": str(tmp_path / "more")})
    assert done.returncode == 0, done.stderr
    package = next((repository / ".venv").glob("lib/*/site-packages/demo_package.py"))
    assert "2.0" in package.read_text()
    (repository / "requirements.txt").write_text(old)


def test_a_moved_environment_is_created_again(made: Made, tmp_path: Path) -> None:
    repository, env, _ = made
    moved = tmp_path / "moved"
    shutil.copytree(repository, moved, symlinks=True)
    done = start(moved, env)
    assert done.returncode == 0
    assert "Creating .venv" in done.stderr
    assert done.stdout == f"train.py [] {moved / '.venv'}\n"


def test_an_environment_of_another_origin_is_not_removed(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    (repository / ".venv/bin").mkdir(parents=True)
    (repository / ".venv/precious").write_text("kept")
    done = start(repository, environment(tmp_path))
    assert done.returncode == 2
    assert "Move it away" in done.stderr
    assert (repository / ".venv/precious").read_text() == "kept"


def start_slow_set_up(tmp_path: Path, shell: str = "") -> tuple[subprocess.Popen[str], int]:
    """A start in the middle of its set-up, after these shell commands, and its child."""
    repository = copy_shells(tmp_path / "repository")
    python = tmp_path / "slow python"
    mark = tmp_path / "started"
    python.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *venv*set-up*|*"-m venv"*) echo $$ >"{mark}"; exec sleep 60 ;; esac\n'
        f"printf '11\\t1\\t1\\t{python}\\n'\n"
    )
    python.chmod(0o755)
    process = subprocess.Popen(
        ["sh", "-c", f'{shell} exec "$@"', "sh", "bash", str(repository / "train.sh")],
        env=environment(tmp_path, PYTHON=str(python)),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(100):
        if mark.is_file() and mark.read_text().strip():
            break
        time.sleep(0.05)
    return process, int(mark.read_text())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_during_the_set_up_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process, child = start_slow_set_up(tmp_path)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert errors.endswith("...\nstopped; the same command resumes from here\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_ignored_signals_stay_ignored_during_the_set_up(tmp_path: Path) -> None:
    process, child = start_slow_set_up(tmp_path, "trap '' HUP TERM;")
    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGTERM)
    os.kill(child, signal.SIGHUP)
    time.sleep(0.7)
    assert process.poll() is None
    # the installation ignores SIGTERM as well, and still ends
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.fixture(scope="module")
def ready(made: Made) -> Made:
    """The repository, after the tests that change its environment."""
    assert start(*made[:2]).returncode == 0
    return made


def call(made: Made, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell line in the repository's folder, with its environment created."""
    repository, env, _ = made
    return subprocess.run(
        ["bash", "-c", line],
        env={**env, **more},
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "line",
    [
        "sh train.sh",
        "dash train.sh || sh train.sh",
        "bash train.sh",
        "bash < train.sh",
        "bash --posix train.sh",
        "POSIXLY_CORRECT=1 bash train.sh",
        "./train.sh",
        "cd /; bash $OLDPWD/train.sh",
        "ln -sfn $PWD/train.sh /tmp/jittor-landscape-$$; bash /tmp/jittor-landscape-$$; "
        "rm /tmp/jittor-landscape-$$",
        "bash train.sh <&-",
        "bash train.sh 2>&-",
        "bash train.sh <&- 2>&-",
        "umask 777; bash train.sh",
        "unset TERM HOME; bash train.sh",
        "cd() { echo elsewhere; builtin cd /; }; export -f cd; bash train.sh",
        "export CDPATH=/:/tmp; bash train.sh",
        "export BASH_ENV=/nowhere; bash train.sh 2>/dev/null",
        "export TMPDIR=/nowhere; bash train.sh",
        "export LC_ALL=C; bash train.sh",
        "export PYTHONOPTIMIZE=2 PYTHONSAFEPATH=1 PYTHONINSPECT=1; bash train.sh",
    ],
)
def test_every_way_to_call_it_starts(ready: Made, line: str) -> None:
    (ready[0] / "train.sh").chmod(0o755)
    done = call(ready, line)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"train.py [] {ready[0] / '.venv'}\n"


def test_it_works_with_every_stream_closed(ready: Made) -> None:
    assert call(ready, "bash train.sh <&- >&- 2>&-").returncode == 0


def test_packages_of_other_projects_are_ignored(ready: Made, tmp_path: Path) -> None:
    (tmp_path / "os.py").write_text("raise SystemExit('foreign')")
    done = call(ready, "bash train.sh", PYTHONPATH=str(tmp_path), PYTHONHOME="/nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "PYTHONPATH is ignored: the packages of .venv are used\n"
        "PYTHONHOME is ignored: the packages of .venv are used\n"
    )


def test_an_interactive_shell_survives(ready: Made) -> None:
    done = call(
        ready, "bash --norc -i -c '. ./train.sh; echo still $?' 2>&1 | grep -v 'job control'"
    )
    message, still = [line for line in done.stdout.splitlines() if "terminal" not in line]
    assert message == (
        "error: train.sh: expected to run as a program, got sourced. Run bash train.sh"
    )
    assert still == "still 2"


def test_a_closed_pipe_does_not_end_the_set_up(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    wheel(tmp_path / "wheels")
    done = subprocess.run(
        ["bash", "-c", f"bash {repository}/train.sh 2>&1 | true"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=120,
    )
    assert done.stderr == b""
    assert (repository / ".venv/set-up/requirements.txt").is_file()


def test_the_set_up_works_without_locks_and_on_another_disk(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    wheel(tmp_path / "wheels")
    (tmp_path / "large").mkdir()
    (repository / ".venv").symlink_to(tmp_path / "large")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/flock").write_text("#!/bin/sh\necho 'No locks available' >&2; exit 71\n")
    (tmp_path / "bin/flock").chmod(0o755)
    env = environment(tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = start(repository, env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == (
        f"warning: the file system of {repository} has no locks: run no two set-ups at a time"
    )
    assert (repository / ".venv").is_symlink()
    assert (tmp_path / "large/set-up/requirements.txt").is_file()
    assert start(repository, env).stderr == ""


def test_no_files_are_created_without_a_home_folder(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/getent").write_text("#!/bin/sh\nexit 2\n")  # a user without an entry
    (tmp_path / "bin/getent").chmod(0o755)
    for home in ("", None):
        env = environment(
            tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", HOME=home or ""
        )
        if home is None:
            del env["HOME"]
        done = start(repository, env)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("error: HOME: expected a home folder")
        assert not (repository / ".venv").exists()


def test_a_read_only_project_is_one_line(tmp_path: Path) -> None:
    repository = copy_shells(tmp_path / "repository")
    (repository / ".venv.lock").mkdir()  # root can write everything else
    done = start(repository, environment(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {repository}: expected a writable folder")


@pytest.mark.parametrize("program", ["train.sh", "test.sh"])
def test_help_answers_quickly_without_a_set_up(tmp_path: Path, program: str) -> None:
    repository = copy_shells(tmp_path / "repository")
    env = environment(tmp_path)
    started = time.monotonic()
    done = start(repository, env, "--name", "x", "--help", program=program)
    assert time.monotonic() - started < 2
    assert done.returncode == 0
    assert "['--help']" in done.stdout
    assert not (repository / ".venv").exists()


def test_the_real_help_answers_within_two_seconds() -> None:
    if not (REPOSITORY / "train.py").is_file():
        pytest.skip("no train.py in this checkout")
    started = time.monotonic()
    done = subprocess.run(
        ["bash", str(REPOSITORY / "train.sh"), "--help"], capture_output=True, text=True, timeout=30
    )
    assert time.monotonic() - started < 2
    assert done.returncode == 0
    assert "--schedule" in done.stdout
