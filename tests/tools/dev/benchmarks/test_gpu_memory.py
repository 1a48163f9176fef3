"""The measurement of GPU memory, with a fake driver."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import pytest

from tools.dev.benchmarks import gpu_memory
from tools.dev.benchmarks.gpu_memory import PeakMemory


class Driver:
    """NVML of a GPU with `used` bytes in use."""

    used = 100 << 20

    def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: Any) -> int:
        memory._obj.used = self.used
        return 0


def test_the_peak_excludes_earlier_use(monkeypatch: pytest.MonkeyPatch) -> None:
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
