"""The gauge of a GPU's memory, with a driver that is played."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import pytest

from tools.benchmarks import gpu_memory
from tools.benchmarks.gpu_memory import PeakMemory


class Driver:
    """NVML on a card of which `used` bytes are taken."""

    used = 100 << 20

    def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: Any) -> int:
        memory._obj.used = self.used
        return 0


def test_the_peak_counts_beyond_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(gpu_memory, "_first_device", lambda: (driver, ctypes.c_void_p()))
    with PeakMemory() as peak:
        driver.used = 700 << 20
        time.sleep(10 * gpu_memory.INTERVAL)
        driver.used = 300 << 20
        time.sleep(3 * gpu_memory.INTERVAL)
    assert peak.megabytes == 600


def test_without_a_driver_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "_first_device", lambda: None)
    with PeakMemory() as peak:
        pass
    assert peak.megabytes is None
