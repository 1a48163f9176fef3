"""Two processes under mpirun train like one process with all the pairs.

Skipped if OpenMPI is not installed (Debian: libopenmpi-dev openmpi-bin).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import write_dataset, write_schedule

REPOSITORY = Path(__file__).parents[2]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2"]
pytestmark = pytest.mark.skipif(
    shutil.which("mpicc") is None or shutil.which("mpirun") is None,
    reason="no mpicc or no mpirun",
)

# Two steps on two pairs, one of them in each process.
STEP = """
import json, sys
import numpy as np
from runtime.start import start_jittor
start_jittor("cpu")
import jittor as jt
from models.layers.normalization import BatchNorm
from models.layouts.layout import Layout
from models.gans import create_method
from options.groups import DataOptions, GeneratorOptions, LossOptions
from options.train import RunOptions
from training import distributed
from training.trainer import Trainer

options = RunOptions(
    data=DataOptions(height=16, width=32, classes=4),
    generator=GeneratorOptions(channels=2, num_downsamples=4, style_stream=False),
    loss=LossOptions(lambda_vgg=0.0),
)
rank, count = distributed.rank(), distributed.world_size()
# Each process has other weights until the broadcast.
jt.set_global_seed(5 * rank)
trainer = Trainer(create_method(options, None), options)
trainer.broadcast()
random = np.random.default_rng(0)
ids = random.integers(0, 4, (2, 16, 32)).astype(np.int32)
images = random.uniform(-1, 1, (2, 3, 16, 32)).astype(np.float32)
part = slice(rank * 2 // count, (rank + 1) * 2 // count)
norm = BatchNorm(3)
x, cotangent = jt.array(images[part]), jt.array(images[::-1][part] ** 2)
y = norm(x)
gradient = jt.grad((y * cotangent).sum(), x)
np.savez(f"{sys.argv[1]}-{rank}-norm.npz", y=y.numpy(), gradient=gradient.numpy(),
         mean=norm.running_mean.numpy(), variance=norm.running_variance.numpy())
for step in range(2):
    if step == 1:
        np.savez(f"{sys.argv[1]}-{rank}-first.npz",
                 **{name: var.numpy() for name, var in trainer.variables().items()})
    losses = trainer.step(
        Layout(jt.array(ids[part]), 4), jt.array(images[part]), learning_rate=1e-3, seed=step
    )
losses, stop = distributed.sync_losses(losses, rank == 1)
distributed.barrier()
np.savez(f"{sys.argv[1]}-{rank}.npz",
         **{name: var.numpy() for name, var in trainer.variables().items()})
with open(f"{sys.argv[1]}-{rank}.json", "w") as file:
    json.dump({"losses": losses, "stop": stop, "count": count}, file)
"""


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "step.py").write_text(STEP)
    run([sys.executable, "step.py", "one"], folder)
    run([*MPIRUN, sys.executable, "step.py", "two"], folder)
    return folder


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    return dict(np.load(folder / f"{name}.npz"))


def test_both_processes_have_the_same_state(folder: Path) -> None:
    first, second = load(folder, "two-0"), load(folder, "two-1")
    assert json.loads((folder / "two-0.json").read_text())["count"] == 2
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_two_processes_have_the_gradients_of_one(folder: Path) -> None:
    # The second moment after the first step is (1 - beta2) g^2. Unlike the step itself, which is
    # +-learning rate, it does not depend on the last bit of the gradient.
    one, two = load(folder, "one-0-first"), load(folder, "two-0-first")
    names = [name for name in one if name.startswith("optimizer.")]
    assert len(names) > 50
    largest = max(float(one[name].max()) for name in names)
    for name in names:
        # A bias before a norm has no gradient except rounding: it is compared with zero.
        scale = max(float(one[name].max()), 1e-6 * largest)
        np.testing.assert_allclose(two[name] / scale, one[name] / scale, atol=2e-3, err_msg=name)


def test_batch_norm_has_the_statistics_of_all_processes(folder: Path) -> None:
    one = load(folder, "one-0-norm")
    two = [load(folder, f"two-{rank}-norm") for rank in range(2)]
    for name in ("mean", "variance"):
        for part in two:
            np.testing.assert_allclose(part[name], one[name], rtol=1e-5, atol=1e-7, err_msg=name)
    for name in ("y", "gradient"):
        both = np.concatenate([part[name] for part in two])
        np.testing.assert_allclose(both, one[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_losses_and_stop_are_synchronized(folder: Path) -> None:
    answers = [json.loads((folder / f"two-{rank}.json").read_text()) for rank in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["stop"] is True
    alone = json.loads((folder / "one-0.json").read_text())
    assert alone["stop"] is False
    for name, value in alone["losses"].items():
        assert answers[0]["losses"][name] == pytest.approx(value, rel=0.05, abs=0.02), name


def test_a_run_of_two_processes(folder: Path) -> None:
    write_dataset(folder / "data", pairs=4, tests=1)
    write_schedule(folder / "tiny.txt", "I 2 2 total 1e-3")
    train = [sys.executable, str(REPOSITORY / "train.py"), "--data", "data", "--schedule"]
    done = run([*MPIRUN, *train, "tiny.txt", "--name", "two"], folder)
    assert done.stdout.count("phase I: epochs 1 to 2") == 1
    assert done.stdout.count("overview:") == 1
    lines = (folder / "results/two/stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    environment = json.loads((folder / "results/two/environment.json").read_text())
    assert environment["processes"] == 2
    write_schedule(folder / "odd.txt", "I 2 3 total 1e-3")
    odd = subprocess.run(
        [*MPIRUN, *train, "odd.txt", "--name", "odd"], cwd=folder, capture_output=True, text=True
    )
    assert odd.returncode == 2
    assert (
        "phase I: expected a batch size that divides by 2 processes, got 3. Start another number "
        "of processes, or write a schedule with 2 or 4"
    ) in odd.stderr
