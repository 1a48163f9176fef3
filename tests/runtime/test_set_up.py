"""prepare() in its own process, with a stub of Jittor."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from runtime.settings import INHERITED, environment_of_user
from tests.runtime.stub import PROGRAM, Stub


def test_unavailable_cuda_is_an_error(stub: Stub) -> None:
    done = stub.run(DEVICE="cuda", nvcc_path="")
    assert done.returncode == 2
    assert done.stdout.startswith("error: --device cuda: nvcc_path is empty in the environment")
    assert not (stub.folder / "imports").exists()


CUDA_13 = """
from pathlib import Path
from runtime import set_up
from runtime.cuda import CudaBackend, Driver, Toolkit
from runtime.cuda_home import CudaHome
home = CudaHome(Path("cuda13-0123").absolute(), {}, {"bin/nvcc": "#!/bin/sh"})
settings = {"nvcc_path": str(home.nvcc), "cc_flags": "-Dflag"}
found = Toolkit(Path("/cuda/bin/nvcc"), (13, 0), (9, 1)), Driver((13, 0), ("H200",))
set_up.find_cuda = lambda environ: CudaBackend("cuda13-0123", *found, settings, home)
"""


def test_the_home_of_cuda_13_exists_before_the_import(stub: Stub) -> None:
    done = stub.run(CUDA_13 + PROGRAM)
    assert done.stdout == "cuda True False\n", done.stderr
    assert done.stderr == "CUDA 13.0, cuDNN 9.1 on H200\n"
    nvcc = stub.folder / "cuda13-0123/bin/nvcc"
    assert nvcc.read_text() == "#!/bin/sh" and os.access(nvcc, os.X_OK)
    seen = json.loads((stub.folder / "environment").read_text())
    assert seen["nvcc_path"] == str(nvcc) and seen["cc_flags"] == "-Dflag"
    assert seen["cache_name"] == "landscape-cuda13-0123"


def test_a_cuda_that_does_not_build_falls_back_to_the_cpu(stub: Stub) -> None:
    failing = CUDA_13.replace('"-Dflag"}', '"-Dflag", "STUB_BEHAVIOR": "fails"}')
    done = stub.run(failing + PROGRAM)
    assert done.stdout == "cpu True True\n", done.stderr
    assert "CPU: Jittor could not be built with CUDA 13.0, cuDNN 9.1 on H200" in done.stderr
    refused = stub.run(failing + PROGRAM, DEVICE="cuda")
    assert refused.returncode == 2
    assert refused.stdout.startswith("error: Jittor: compilation failed")


def test_a_child_uses_its_parents_device_and_the_users_settings(stub: Stub) -> None:
    stub.run(nvcc_path="/of/the/user/nvcc", gdb_path="/of/the/user/gdb")
    parents = json.loads((stub.folder / "environment").read_text())
    assert parents["nvcc_path"] == ""
    # a child with 'auto' prints nothing: its parent did
    child = stub.run(**{INHERITED: parents[INHERITED], "nvcc_path": ""})
    assert (child.stdout, child.stderr) == ("cpu True True\n", "")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in parents.items():
            patch.setenv(name, value)
        users, device = environment_of_user()
    assert device == "cpu"
    assert users["nvcc_path"] == "/of/the/user/nvcc"
    assert users["gdb_path"] == "/of/the/user/gdb"
    assert "cache_name" not in users and INHERITED not in users


def test_a_read_only_home_is_an_error(stub: Stub) -> None:
    home = stub.folder / "file"
    home.touch()
    done = stub.run(HOME=str(home))
    assert done.returncode == 2
    assert "expected a writable folder" in done.stdout


def test_a_relative_home_is_an_error(stub: Stub) -> None:
    done = stub.run(HOME="home")
    assert done.returncode == 2
    assert f"Set HOME={stub.folder / 'home'}" in done.stdout


def test_the_set_up_works_without_locks(stub: Stub) -> None:
    refuse = (
        "import errno, fcntl\n"
        "def refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse\n"
    )
    done = stub.run(refuse + PROGRAM, DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert (
        f"warning: the file system of {stub.folder / 'home/.cache/jittor/landscape'} has no locks "
        "(No locks available): start no two programs" in done.stderr
    )


def test_a_missing_compiler_is_an_error(stub: Stub) -> None:
    done = stub.run(PATH="/nowhere")
    assert done.returncode == 2
    assert re.match(
        r"error: C\+\+ compiler: expected g\+\+, got none\. Run .*apt-get install g\+\+$",
        done.stdout.strip(),
    )


def test_prepare_after_the_import_is_a_bug(stub: Stub) -> None:
    code = "import sys, types; sys.modules['jittor'] = types.ModuleType('jittor')\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", code], env=stub.env, capture_output=True, text=True, timeout=60
    )
    assert "must be called before `import jittor`" in done.stderr


def test_a_process_of_mpirun_sees_only_its_gpu(stub: Stub) -> None:
    program = PROGRAM + "\nprint(os.environ['CUDA_VISIBLE_DEVICES'])"
    done = stub.run(program, OMPI_COMM_WORLD_LOCAL_RANK="1", CUDA_VISIBLE_DEVICES="4,7")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "7"
    done = stub.run(
        program, OMPI_COMM_WORLD_LOCAL_RANK="1", CUDA_VISIBLE_DEVICES="4,7", DEVICE="cpu"
    )
    assert done.stdout.splitlines()[-1] == "4,7"
