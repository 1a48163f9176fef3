"""The peak memory of a GPU, as the driver reports it for PyTorch and Jittor alike."""

from __future__ import annotations

import ctypes
import threading
from types import TracebackType
from typing import Any

INTERVAL = 0.02


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class PeakMemory:
    """The increase of the first GPU's used memory within a `with` block, at its peak.

    with PeakMemory() as peak: ...
    peak.megabytes      None without an NVIDIA driver
    """

    def __init__(self) -> None:
        self._device = _first_device()
        self._before = self._peak = self._used()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def megabytes(self) -> int | None:
        """The peak in mebibytes."""
        if self._before is None or self._peak is None:
            return None
        return (self._peak - self._before) >> 20

    def __enter__(self) -> PeakMemory:
        if self._device is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._peak = max(self._peak or 0, self._used() or 0)

    def _used(self) -> int | None:
        if self._device is None:
            return None
        library, device = self._device
        memory = _Memory()
        if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)):
            return None
        return int(memory.used)


def _first_device() -> tuple[Any, ctypes.c_void_p] | None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device = ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None
    return library, device
