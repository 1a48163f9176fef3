"""A stub of Jittor, and programs that prepare and import it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

STUB = """
import json, os, pathlib, sys
count = pathlib.Path(os.environ["STUB"]) / "imports"
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
behavior = os.environ.get("STUB_BEHAVIOR", "")
if os.environ["log_silent"] == "0":
    print("Compiling jittor_core(1/2) used: 3.7s eta: 5s", end="\\r")
if behavior == "rerun" and number == 1:
    print("jit_utils updated, please rerun your command.")
    sys.exit(0)
if behavior == "fails":
    print("fatal error: no such header")
    raise RuntimeError("Run cmd failed: g++")
if behavior == "slow":
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
from runtime.set_up import prepare
try:
    backend = prepare(os.environ.get("DEVICE", "auto"))
except UserError as error:
    print(f"error: {error}")
    sys.exit(2)
import jittor
is_cache = jittor.compiler.cache_path == str(backend.cache)
print(backend.device, is_cache, os.environ["nvcc_path"] == "")
"""


class Stub:
    """A folder with a stub of Jittor and an empty home, in which programs are started."""

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
