"""Recorded losses of a seeded run per generator: a refactoring must not change them.

    python -m tests.training.test_loss_trace    # records them again, after a change of a formula

On the machine of the record they must be bit-identical, as must every array of the final state.
Other processors and compilers round differently: `LIMIT` is the tolerance then.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from options.groups import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    TrainingOptions,
)
from options.schedule import Phase, Schedule
from options.train import RunOptions
from runtime.start import start_jittor
from tests.tiny import write_dataset
from training.log import Log
from training.preflight import prepare_run
from training.run_folder import RunFolder
from weights.safetensors_file import read_tensors

RECORD = Path(__file__).parent / "files" / "loss_traces.json"
# Adam's first step is the sign of the gradient, which depends on rounding for gradients near 0.
LIMIT = 0.03
SIZE = (32, 48)
PHASES = (Phase("I", 1, 2, "total", 2e-4), Phase("II", 3, 4, "total", 1e-4))
STAGES = ("global", "all")

GENERATORS: dict[str, dict[str, Any]] = {
    "spade": {"generator": "spade"},
    "spade_vae": {"generator": "spade", "vae": True, "latent_size": 8},
    "tsit": {"generator": "tsit"},
    "tsit_noise": {"generator": "tsit", "style_stream": False, "start": "noise"},
    "tsit_translation": {"generator": "tsit", "start": "noise"},
    "pix2pix": {"generator": "pix2pix"},
    "pix2pixhd": {"generator": "pix2pixhd"},
}


def describe_rounding() -> str:
    """The causes of different rounding: processor, compiler, and instructions of convolutions."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    model = " ".join(facts.get(k, "?") for k in ("vendor_id", "cpu family", "model", "stepping"))
    avx = "AVX-512" if "avx512f" in facts.get("flags", "").split() else "no AVX-512"
    threads = os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    limit = os.environ.get("DNNL_MAX_CPU_ISA", "all")
    compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True).stdout
    return f"{model}, {avx}, g++ {compiler.strip()}, threads {threads}, instructions {limit}"


def _write_photos(root: Path) -> Path:
    for part, count in (("content", 4), ("style", 3)):
        (root / part).mkdir(parents=True)
        for index in range(count):
            random = np.random.default_rng([len(part), index])
            image = np.kron(random.integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1)))
            Image.fromarray(image.astype(np.uint8)).save(root / part / f"{part[0]}{index}.png")
    return root


def trace(name: str, folder: Path) -> dict[str, Any]:
    """The losses per step of a tiny network of this name, and a digest of its last state."""
    import jittor as jt

    from training.loop import train

    # Pending operations of an earlier test would sample from the seed of this run.
    jt.sync_all()
    unpaired = name == "tsit_translation"
    root = folder / "dataset"
    dataset = _write_photos(root) if unpaired else write_dataset(root, pairs=4)
    options = RunOptions(
        data=DataOptions(
            task="translation" if unpaired else "synthesis",
            input_path=str(dataset),
            height=SIZE[0],
            width=SIZE[1],
            workers=1,
            **({} if unpaired else {"classes": 4}),
        ),
        generator=GeneratorOptions(channels=2, num_downsamples=4, **GENERATORS[name]),
        discriminator=DiscriminatorOptions(discriminator_layers=2, discriminator_channels=2),
        loss=LossOptions(lambda_vgg=0.0),
        optimizer=OptimizerOptions(ema_decay=0.9),
        training=TrainingOptions(name=name, results_path=str(folder), log_every=1, device="cpu"),
    ).validate()
    phases: tuple[Phase, ...] = PHASES
    if name == "pix2pixhd":
        phases = tuple(replace(p, stage=s) for p, s in zip(PHASES, STAGES, strict=True))
    log = Log(RunFolder(folder, name))
    preparation = prepare_run(options, Schedule("trace", phases), log)
    try:
        train(preparation, log)
    finally:
        log.close()
        preparation.folder.close()
    run = folder / name
    records = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    (state,) = [path for path in run.glob("checkpoints/state-*") if path.name.endswith("4")]
    arrays = read_tensors(state / "state.safetensors")[0].values()
    # Only the values: names of arrays may change.
    parts = sorted(hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in arrays)
    return {
        "losses": [{key: float.hex(v) for key, v in r["losses"].items()} for r in records],
        "state": hashlib.sha256("".join(parts).encode()).hexdigest(),
    }


def compare(name: str, made: dict[str, Any], rounding: str, record: dict[str, Any]) -> None:
    """Raise AssertionError if a trace differs from the record, in any bit on its machine."""
    recorded = record["traces"][name]
    if rounding == record["rounding"]:
        assert made == recorded
        return
    assert [list(losses) for losses in made["losses"]] == [list(s) for s in recorded["losses"]]
    for step, (found, expected) in enumerate(
        zip(made["losses"], recorded["losses"], strict=True), 1
    ):
        for key, value in expected.items():
            near = pytest.approx(float.fromhex(value), rel=LIMIT, abs=LIMIT)
            assert float.fromhex(found[key]) == near, f"{name}, step {step}: {key}"


@pytest.mark.parametrize("name", GENERATORS)
def test_losses_of_a_seeded_run_match_the_record(name: str, tmp_path: Path) -> None:
    compare(name, trace(name, tmp_path), describe_rounding(), json.loads(RECORD.read_text()))


@pytest.mark.parametrize("rounding", ["the recorded one", "another"])
def test_a_changed_loss_is_detected(rounding: str) -> None:
    record = json.loads(RECORD.read_text())
    record["rounding"] = "the recorded one"
    made = json.loads(json.dumps(record["traces"]["spade"]))
    compare("spade", made, rounding, record)
    value = float.fromhex(made["losses"][-1]["gan"])
    made["losses"][-1]["gan"] = float.hex(value + (3 * LIMIT if rounding == "another" else 1e-15))
    with pytest.raises(AssertionError):
        compare("spade", made, rounding, record)


if __name__ == "__main__":
    start_jittor("cpu")
    with tempfile.TemporaryDirectory() as folder:
        traces = {name: trace(name, Path(folder, name)) for name in GENERATORS}
    text = json.dumps({"rounding": describe_rounding(), "traces": traces}, indent=1)
    RECORD.write_text(text + "\n")
