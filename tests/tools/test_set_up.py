"""What prepare() sets, places and compiles; a stub stands for Jittor, other tests import it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from options.errors import UserError
from tools import set_up
from tools.cuda import CudaRoute, Driver, Toolkit
from tools.set_up import (
    ONEDNN_FOLDER,
    ONEDNN_MARK,
    jittor_home,
    onednn_of,
    openmp_threads,
    operator_header,
    place_onednn,
    prepare,
    settings_for,
    telling_line,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the installed wheels: a library and two headers."""
    folder = tmp_path / "wheels"
    (folder / "include/oneapi/dnnl").mkdir(parents=True)
    (folder / "libdnnl.so.2").write_bytes(b"the library")
    (folder / "include/dnnl.hpp").write_text("// header")
    (folder / "include/oneapi/dnnl/dnnl_version.h").write_text(
        "#define DNNL_VERSION_MAJOR 2\n#define DNNL_VERSION_MINOR 6\n#define DNNL_VERSION_PATCH 0\n"
    )
    headers = [
        (folder / "include" / name, name) for name in ("dnnl.hpp", "oneapi/dnnl/dnnl_version.h")
    ]
    monkeypatch.setattr(set_up, "onednn_wheel_files", lambda: (folder / "libdnnl.so.2", headers))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    return folder


def mkl(home: Path) -> Path:
    return home / ".cache/jittor/mkl" / ONEDNN_FOLDER


def test_onednn_is_placed_whole_and_outlives_the_environment(tmp_path: Path, wheels: Path) -> None:
    placed = place_onednn(tmp_path)
    assert placed is not None and placed.ours and placed.version == "2.6.0"
    shutil.rmtree(wheels)
    folder = mkl(tmp_path)
    assert (folder / "lib/libmkldnn.so").read_bytes() == b"the library"
    assert not (folder / "lib/libmkldnn.so").is_symlink()
    assert (folder / "lib/libdnnl.so.2").read_bytes() == b"the library"
    assert (folder / "include/dnnl.hpp").is_file()
    assert os.listdir(folder.parent) == [ONEDNN_FOLDER]
    assert place_onednn(tmp_path) == placed


def test_onednn_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    place_onednn(tmp_path)
    assert (mkl(tmp_path) / "lib/libmkldnn.so").stat().st_nlink == 1


def test_an_installation_of_the_user_is_left_untouched(tmp_path: Path, wheels: Path) -> None:
    (mkl(tmp_path) / "lib").mkdir(parents=True)
    (mkl(tmp_path) / "include").mkdir()
    (mkl(tmp_path) / "lib/libmkldnn.so").write_bytes(b"the user's")
    there = place_onednn(tmp_path)
    assert there is not None and not there.ours
    assert (mkl(tmp_path) / "lib/libmkldnn.so").read_bytes() == b"the user's"
    assert not (mkl(tmp_path) / ONEDNN_MARK).exists()


@pytest.mark.parametrize("marked", [True, False])
def test_a_dangling_one_is_mended_and_only_ours_is_thrown_away(
    tmp_path: Path, wheels: Path, marked: bool
) -> None:
    folder = mkl(tmp_path)
    (folder / "lib").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "lib/libmkldnn.so").symlink_to(tmp_path / "gone/libdnnl.so")
    (folder / "notes").write_text("whose?")
    if marked:
        (folder / ONEDNN_MARK).touch()
    assert onednn_of(tmp_path) is None
    place_onednn(tmp_path)
    assert (folder / "lib/libmkldnn.so").read_bytes() == b"the library"
    kept = list(folder.parent.glob("replaced-*/*/notes"))
    assert len(kept) == (0 if marked else 1)


def test_a_dangling_folder_is_mended(tmp_path: Path, wheels: Path) -> None:
    mkl(tmp_path).parent.mkdir(parents=True)
    mkl(tmp_path).symlink_to(tmp_path / "gone")
    assert place_onednn(tmp_path) is not None
    assert (mkl(tmp_path) / "lib/libmkldnn.so").is_file()


def test_an_interrupted_placement_leaves_nothing(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(UserError, match="No space left"):
        place_onednn(tmp_path)
    assert os.listdir(mkl(tmp_path).parent) == []


def test_a_folder_that_jittor_may_take_instead_is_refused(tmp_path: Path, wheels: Path) -> None:
    (mkl(tmp_path).parent / "dnnl_lnx_broken").mkdir(parents=True)
    with pytest.raises(UserError, match="dnnl_lnx_broken"):
        place_onednn(tmp_path)


def test_without_wheels_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match=r"pip install -r requirements\.txt"):
        place_onednn(tmp_path)


def test_a_machine_without_wheels_runs_without_onednn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(set_up, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert place_onednn(tmp_path) is None
    assert capsys.readouterr().err.count("\n") == 1
    assert settings_for({}, None, None, tmp_path)["use_mkl"] == "0"


def test_the_installed_wheels_are_found() -> None:
    found = set_up.onednn_wheel_files()
    if found is None:
        pytest.skip("the wheels are not installed")
    library, headers = found
    assert library.is_file() and library.name == "libdnnl.so.2"
    assert {"dnnl.hpp", "oneapi/dnnl/dnnl_version.h"} <= {name for _, name in headers}
    assert all(path.is_file() for path, _ in headers)


def test_jittor_home_is_found_as_jittor_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jittor_home({}) == tmp_path
    config = tmp_path / ".cache/jittor/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"JITTOR_HOME": "/elsewhere"}))
    assert jittor_home({}) == Path("/elsewhere")
    assert jittor_home({"JITTOR_HOME": "/third"}) == Path("/third")
    assert json.loads(config.read_text()) == {"JITTOR_HOME": "/elsewhere"}
    config.write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        jittor_home({})


def test_settings_of_the_cpu(tmp_path: Path) -> None:
    settings = settings_for({"nvcc_path": "/usr/bin/nvcc"}, None, None, tmp_path)
    assert settings["nvcc_path"] == ""
    assert settings["cache_name"] == "landscape-cpu"
    assert settings["use_mpi"] == "0"
    assert settings["log_silent"] == "1"
    assert settings["use_parallel_op_compiler"] == "1"
    header = operator_header({}, tmp_path)
    assert header.parent.parent == tmp_path
    assert settings["kernel_flags"].split() == ["-include", f'"{header}"']
    kept = {"cache_name": "mine", "kernel_flags": "-O1", "log_silent": "0", "OMP_NUM_THREADS": "1"}
    settings = settings_for(kept, None, None, tmp_path)
    assert {name: settings.get(name, kept[name]) for name in kept} == kept


def test_settings_of_cuda(tmp_path: Path) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    variables = {"nvcc_path": "/cuda/bin/nvcc", "use_cutt": "0"}
    route = CudaRoute("cuda12.2", toolkit, Driver((12, 2), ("A100",)), variables)
    settings = settings_for({}, route, None, tmp_path)
    assert settings["nvcc_path"] == "/cuda/bin/nvcc"
    assert settings["cache_name"] == "landscape-cuda12.2"
    assert settings["use_cutt"] == "0"


def test_the_header_of_the_operators_is_for_g_plus_plus_on_the_cpu(tmp_path: Path) -> None:
    assert "kernel_flags" not in settings_for({"cc_path": "clang++"}, None, None, tmp_path)
    # as a child process finds it, whose parent has imported Jittor
    inherited = {"cc_path": shutil.which("g++") or "g++"}
    assert "kernel_flags" in settings_for(inherited, None, None, tmp_path)
    for environment in (inherited, {"use_mpi": "1"}):
        assert operator_header({}, tmp_path) == operator_header(environment, tmp_path)
    assert operator_header({}, tmp_path) != operator_header({"cc_flags": "-O1"}, tmp_path)


def test_operators_are_compiled_behind_the_compiled_header(tmp_path: Path) -> None:
    include = prepare("cpu").environment.get("kernel_flags", "")
    if "operators.h" not in include:
        pytest.skip("this environment has a compiler or kernel_flags of its own")
    import jittor as jt

    (tmp_path / "operator.cc").write_text("#define JIT 1\n#define JIT_cpu 1\njittor::Var* x;\n")
    flags = [word for word in shlex.split(jt.flags.cc_flags) if word != "-shared"]
    # -H marks with ! the compiled header that is taken, and with x the one that is not
    command = ["g++", *flags, "-g", "-H", "-S", str(tmp_path / "operator.cc"), "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header = shlex.split(include)[1]
    assert done.stderr.splitlines()[0] == f"! {header}.gch"


def test_mpi_is_on_under_mpirun_alone(tmp_path: Path) -> None:
    mpicc = tmp_path / "mpicc"
    mpicc.write_text("#!/bin/sh\n")
    mpicc.chmod(0o755)
    env = {"PATH": str(tmp_path)}
    assert settings_for(env, None, None, tmp_path)["use_mpi"] == "0"
    env["OMPI_COMM_WORLD_SIZE"] = "2"
    assert settings_for(env, None, None, tmp_path)["use_mpi"] == "1"
    with pytest.raises(UserError, match="apt-get install libopenmpi-dev"):
        settings_for({"PATH": "", "OMPI_COMM_WORLD_SIZE": "2"}, None, None, tmp_path)


def test_threads_follow_the_quota_and_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(set_up, "_processor_quota", lambda: None)
    assert openmp_threads({}) is None
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}) == 4
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "64"}) == 1
    assert openmp_threads({"OMP_NUM_THREADS": "3"}) is None
    monkeypatch.setattr(set_up, "_processor_quota", lambda: 2)
    assert openmp_threads({}) == 2
    # bound to cores of its own: OpenMP sees just these
    monkeypatch.setattr(set_up, "_processor_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}) is None


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, files: dict[str, str], quota: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set_up._processor_quota(tmp_path) == quota


def test_the_stand_in_for_python_config_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda path: False)
    found = set_up._python_config({}, tmp_path)
    assert found is not None
    script, text = found
    script.write_text(text)
    script.chmod(0o755)
    answers = [
        subprocess.run([script, flag], capture_output=True, text=True, check=True).stdout.strip()
        for flag in ("--includes", "--extension-suffix")
    ]
    assert answers == [
        f'-I"{sysconfig.get_paths()["include"]}"',
        sysconfig.get_config_var("EXT_SUFFIX"),
    ]


# ---- prepare() in a process of its own, with a Jittor that is a stub

STUB = """
import json, os, pathlib, sys
count = pathlib.Path(os.environ["STUB"]) / "imports"
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
behaviour = os.environ.get("STUB_BEHAVIOUR", "")
if os.environ["log_silent"] == "0":
    print("Compiling jittor_core(1/2) used: 3.7s eta: 5s", end="\\r")
if behaviour == "rerun" and number == 1:
    print("jit_utils updated, please rerun your command.")
    sys.exit(0)
if behaviour == "fails":
    print("fatal error: no such header")
    raise RuntimeError("Run cmd failed: g++")
if behaviour == "slow":
    import time
    pathlib.Path(os.environ["STUB"], "pid").write_text(str(os.getpid()))
    time.sleep(60)
class flags:
    cc_flags = "-O1 -shared -lm " + os.environ.get("kernel_flags", "")
class compiler:
    cache_path = os.path.join(os.environ["STUB"], os.environ["cache_name"])
os.makedirs(compiler.cache_path, exist_ok=True)
pathlib.Path(compiler.cache_path, "jittor_core.so").touch()
pathlib.Path(os.environ["STUB"], "environment").write_text(json.dumps(dict(os.environ)))
"""

PROGRAM = """
import os, sys
from options.errors import UserError
from tools.set_up import prepare
try:
    route = prepare(os.environ.get("DEVICE", "auto"))
except UserError as error:
    print(f"error: {error}")
    sys.exit(2)
import jittor
print(route.device, jittor.compiler.cache_path == str(route.cache), os.environ["nvcc_path"] == "")
"""


class Stub:
    """A folder with a stub of Jittor, an empty home, and a way to start programs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        packages = folder / "packages"
        for name, text in (("jittor", STUB), ("jittor_utils", "")):
            (packages / name).mkdir(parents=True)
            (packages / name / "__init__.py").write_text(text)
        info = packages / "jittor-1.3.11.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jittor\nVersion: 1.3.11.0\n")
        (folder / "home").mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {
            **kept,
            "HOME": str(folder / "home"),
            "PYTHONPATH": f"{packages}:{REPOSITORY}",
            "STUB": str(folder),
            "use_mkl": "0",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def run(self, program: str = PROGRAM, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**self.env, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def imports(self) -> int:
        return int((self.folder / "imports").read_text())


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path)


def test_the_core_is_compiled_once_in_another_process(stub: Stub) -> None:
    first = stub.run()
    assert (first.returncode, first.stdout) == (0, "cpu True True\n"), first
    # the line that says why it is the CPU, and nothing of Jittor's own
    assert len(first.stderr.splitlines()) == 1 and first.stderr.startswith("CPU: ")
    assert stub.imports == 2
    second = stub.run()
    assert second.stdout == first.stdout
    assert stub.imports == 3


def test_a_jittor_that_asks_to_be_started_again_is(stub: Stub) -> None:
    done = stub.run(STUB_BEHAVIOUR="rerun")
    assert (done.returncode, done.stdout) == (0, "cpu True True\n")
    assert stub.imports == 3


def test_a_failed_compilation_is_one_line_with_the_log(stub: Stub) -> None:
    done = stub.run(STUB_BEHAVIOUR="fails")
    assert done.returncode == 2
    assert done.stdout.startswith(
        "error: Jittor could not be compiled: fatal error: no such header"
    )
    log = re.search(r"the whole log: (\S+)\)", done.stdout)
    assert log and "no such header" in Path(log[1]).read_text()
    # nothing is noted as done
    assert stub.run().returncode == 0
    assert stub.imports == 3


def test_a_removed_cache_is_compiled_again(stub: Stub) -> None:
    stub.run()
    shutil.rmtree(stub.folder / "landscape-cpu")
    stub.run()
    assert stub.imports == 4


def test_other_flags_are_another_compilation(stub: Stub) -> None:
    stub.run()
    stub.run(cc_flags="-O3")
    assert stub.imports == 4


def test_a_stopped_compilation_leaves_nothing_running(stub: Stub) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**stub.env, "STUB_BEHAVIOUR": "slow"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    mark = stub.folder / "pid"
    for _ in range(200):
        if mark.exists() and mark.read_text():
            break
        time.sleep(0.05)
    process.send_signal(2)
    assert process.wait(timeout=10) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_several_starts_at_once_compile_once(stub: Stub) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=stub.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in starts] == ["cpu True True\n"] * 3
    assert stub.imports <= 4


def test_cuda_that_cannot_be_had_is_an_error(stub: Stub) -> None:
    done = stub.run(DEVICE="cuda", nvcc_path="")
    assert done.returncode == 2
    assert done.stdout.startswith("error: --device cuda: nvcc_path is empty in the environment")
    assert not (stub.folder / "imports").exists()


CUDA_13 = """
from pathlib import Path
from tools import set_up
from tools.cuda import CudaRoute, Driver, Toolkit
from tools.cuda_home import CudaHome
home = CudaHome(Path("cuda13-0123").absolute(), {}, {"bin/nvcc": "#!/bin/sh"})
settings = {"nvcc_path": str(home.nvcc), "cc_flags": "-Dflag"}
found = Toolkit(Path("/cuda/bin/nvcc"), (13, 0), (9, 1)), Driver((13, 0), ("H200",))
set_up.find_cuda = lambda environ: CudaRoute("cuda13-0123", *found, settings, home)
"""


def test_the_home_of_cuda_13_is_there_before_jittor_is(stub: Stub) -> None:
    done = stub.run(CUDA_13 + PROGRAM)
    assert done.stdout == "cuda True False\n", done.stderr
    assert done.stderr == "CUDA 13.0, cuDNN 9.1 on H200\n"
    nvcc = stub.folder / "cuda13-0123/bin/nvcc"
    assert nvcc.read_text() == "#!/bin/sh" and os.access(nvcc, os.X_OK)
    seen = json.loads((stub.folder / "environment").read_text())
    assert seen["nvcc_path"] == str(nvcc) and seen["cc_flags"] == "-Dflag"
    assert seen["cache_name"] == "landscape-cuda13-0123"


def test_a_cuda_that_does_not_build_leaves_the_cpu_and_a_line(stub: Stub) -> None:
    failing = CUDA_13.replace('"-Dflag"}', '"-Dflag", "STUB_BEHAVIOUR": "fails"}')
    done = stub.run(failing + PROGRAM)
    assert done.stdout == "cpu True True\n", done.stderr
    assert "CPU: Jittor could not be built with CUDA 13.0, cuDNN 9.1 on H200" in done.stderr
    refused = stub.run(failing + PROGRAM, DEVICE="cuda")
    assert refused.returncode == 2
    assert refused.stdout.startswith("error: Jittor could not be compiled")


def test_a_child_takes_its_parents_route_and_the_users_settings(stub: Stub) -> None:
    stub.run(nvcc_path="/of/the/user/nvcc", gdb_path="/of/the/user/gdb")
    parents = json.loads((stub.folder / "environment").read_text())
    assert parents["nvcc_path"] == ""
    # a child with 'auto' says nothing: its parent did
    child = stub.run(**{set_up.INHERITED: parents[set_up.INHERITED], "nvcc_path": ""})
    assert (child.stdout, child.stderr) == ("cpu True True\n", "")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in parents.items():
            patch.setenv(name, value)
        users, device = set_up.environment_of_user()
    assert device == "cpu"
    assert users["nvcc_path"] == "/of/the/user/nvcc"
    assert users["gdb_path"] == "/of/the/user/gdb"
    assert "cache_name" not in users and set_up.INHERITED not in users


def test_a_home_that_cannot_be_written_is_an_error(stub: Stub) -> None:
    home = stub.folder / "file"
    home.touch()
    done = stub.run(HOME=str(home))
    assert done.returncode == 2
    assert "cannot be written" in done.stdout


def test_a_home_that_is_no_whole_path_is_an_error(stub: Stub) -> None:
    done = stub.run(HOME="home")
    assert done.returncode == 2
    assert f"set HOME={stub.folder / 'home'}" in done.stdout


def test_without_locks_the_set_up_goes_on_with_a_warning(stub: Stub) -> None:
    refuse = (
        "import errno, fcntl\n"
        "def refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse\n"
    )
    done = stub.run(refuse + PROGRAM, DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert (
        f"warning: the file system of {stub.folder / 'home/.cache/jittor/landscape'} has no locks "
        "(No locks available): let no two programs" in done.stderr
    )


def test_what_would_stop_a_start_is_known_before_other_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(set_up.INHERITED, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    set_up.check_machine()
    assert (tmp_path / ".cache/jittor/landscape").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        set_up.check_machine()
    monkeypatch.setenv("cc_path", "/nowhere/g++")
    with pytest.raises(UserError, match="no C\\+\\+ compiler"):
        set_up.check_machine()


def test_a_missing_compiler_is_an_error(stub: Stub) -> None:
    done = stub.run(PATH="/nowhere")
    assert done.returncode == 2
    assert re.match(
        r"error: no C\+\+ compiler \(g\+\+\).*apt-get install g\+\+$", done.stdout.strip()
    )


def test_prepare_after_the_import_is_a_mistake(stub: Stub) -> None:
    code = "import sys, types; sys.modules['jittor'] = types.ModuleType('jittor')\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", code], env=stub.env, capture_output=True, text=True, timeout=60
    )
    assert "must be called before `import jittor`" in done.stderr


def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.0")
    fault = set_up.check_packages({})
    assert fault and fault.startswith("numpy 2.1.0: Jittor computes wrong numbers")


def test_missing_headers_name_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    fault = set_up.check_headers({})
    assert fault and fault.endswith(f"apt-get install python3.{sys.version_info[1]}-dev")


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "Compiling\r\x1b[31mx.cu(3): fatal error: no such file\x1b[0m\nerror: more\nend",
            "x.cu(3): fatal error: no such file",
        ),
        ("ValueError: first\nand then\nRuntimeError: at last\n  at exit", "RuntimeError: at last"),
        ("Check failed: 1 == 2\n\x1b[m\n", "Check failed: 1 == 2"),
        ("", "no output"),
    ],
)
def test_one_line_of_a_failure_is_shown(output: str, line: str) -> None:
    assert telling_line(output) == line


def test_a_process_of_mpirun_sees_its_card_alone(stub: Stub) -> None:
    program = PROGRAM + "\nprint(os.environ['CUDA_VISIBLE_DEVICES'])"
    done = stub.run(program, OMPI_COMM_WORLD_LOCAL_RANK="1", CUDA_VISIBLE_DEVICES="4,7")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "7"
    done = stub.run(
        program, OMPI_COMM_WORLD_LOCAL_RANK="1", CUDA_VISIBLE_DEVICES="4,7", DEVICE="cpu"
    )
    assert done.stdout.splitlines()[-1] == "4,7"
