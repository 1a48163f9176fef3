"""Helper processes that read files while the main process computes.

Not threads: Jittor holds the GIL for a whole step. Not `multiprocessing`: its 'fork' is unsafe
once Jittor, CUDA or MPI have started, and its 'spawn' imports the main program, and with it Jittor,
in each helper. A helper imports only the module of its task, and ends when its parent ends, for
any reason.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from options.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]

_ROOT = Path(__file__).resolve().parents[1]
_START = (
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from data.workers import serve; serve(int(sys.argv[2]))"
)
# For this many items or fewer, starting helpers takes longer than the work.
_FEW = 24


class InlinePool(Generic[T, R]):
    """A ProcessPool without processes: `receive` runs the oldest task in this process."""

    def __init__(self, make: Callable[..., Callable[[T], R]], arguments: Sequence[Any]) -> None:
        self._function = make(*arguments)
        self._tasks: deque[tuple[Any, T]] = deque()

    def submit(self, key: Any, task: T) -> None:
        self._tasks.append((key, task))

    def receive(self) -> tuple[Any, R]:
        key, task = self._tasks.popleft()
        return key, self._function(task)

    def close(self) -> None:
        self._tasks.clear()


class ProcessPool(Generic[T, R]):
    """Runs tasks in helper processes; a task goes to the helper with the shortest queue.

    Each helper calls `make(*arguments)` once; the result is the function of one task. `make`,
    arguments, tasks and answers are pickled, so `make` is a function or class of a module. `files`
    are descriptors that the helpers inherit under the same numbers. Submit few long tasks rather
    than many short ones: a queue holds a few dozen.
    """

    def __init__(
        self,
        make: Callable[..., Callable[[T], R]],
        arguments: Sequence[Any],
        workers: int,
        files: Sequence[int] = (),
    ) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._waiting: list[int] = [0] * workers
        self._finalizer = weakref.finalize(self, _end, self._connections, self._processes)
        # Pickled once for all helpers: ten thousand pairs are a few megabytes.
        setup = pickle.dumps((make, tuple(arguments)))
        try:
            for _ in range(workers):
                self._start(files)
            for index, connection in enumerate(self._connections):
                try:
                    connection.send_bytes(setup)
                except OSError:
                    self._lost(index)
        except BaseException:
            self.close()
            raise

    def submit(self, key: Any, task: T) -> None:
        """Submit a task; `receive` returns its answer with `key`."""
        index = self._waiting.index(min(self._waiting))
        self._waiting[index] += 1
        try:
            self._connections[index].send((key, task))
        except OSError:
            self._lost(index)

    def receive(self) -> tuple[Any, R]:
        """Wait for an answer; return its key and itself. Raises what the task raised."""
        busy = [c for c, n in zip(self._connections, self._waiting, strict=True) if n]
        if not busy:
            raise RuntimeError("ProcessPool.receive: expected a pending task, got none.")
        ready = wait(busy)
        index = next(i for i, one in enumerate(self._connections) if one in ready)
        try:
            key, failure, answer = self._connections[index].recv()
        except (EOFError, OSError):
            self._lost(index)
        self._waiting[index] -= 1
        if failure is not None:
            raise failure
        return key, answer

    def close(self) -> None:
        """Drop pending tasks and end the helpers."""
        self._finalizer()

    def _start(self, files: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._connections.append(Connection(ours.detach()))
            number = theirs.fileno()
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", _START, str(_ROOT), str(number)],
                    pass_fds=(number, *files),
                    stdin=subprocess.DEVNULL,
                    # Or NumPy starts one thread per core for linear algebra, unused here.
                    env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    # Ctrl-C reaches the terminal's whole foreground group; the parent decides.
                    start_new_session=True,
                )
            )

    def _lost(self, index: int) -> NoReturn:
        process = self._processes[index]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        status = process.returncode
        how = f"exit code {status}"
        if status is not None and status < 0:
            how = signal.Signals(-status).name
        self.close()
        raise RuntimeError(
            f"a helper process that reads files ended ({how}). If memory is short, "
            "use fewer workers."
        )


def run_all(
    make: Callable[..., Callable[[T], R]],
    arguments: Sequence[Any],
    items: Sequence[T],
    *,
    workers: int,
    progress: Progress | None = None,
) -> list[R]:
    """Apply `make(*arguments)` to every item; return the answers in the order of the items.

    Runs in helper processes, or in this one if `workers` < 2 or items are few. Calls
    `progress(done, total)` as answers arrive. Raises what an item raised, after ending the helpers.
    """
    total = len(items)
    pool: InlinePool[list[T], list[R]] | ProcessPool[list[T], list[R]]
    if workers < 2 or total <= _FEW:
        size, pool = 1, InlinePool(_each, (make, tuple(arguments)))
    else:
        size = max(1, min(16, total // (4 * workers)))
        pool = ProcessPool(_each, (make, tuple(arguments)), min(workers, total))
    starts = range(0, total, size)
    ahead = 2 * max(1, workers)
    answers: list[list[R]] = [[] for _ in starts]
    done = 0
    try:
        for number in range(-ahead, len(starts)):
            following = number + ahead
            if following < len(starts):
                start = starts[following]
                pool.submit(following, list(items[start : start + size]))
            if number >= 0:
                key, answer = pool.receive()
                answers[key] = answer
                done += len(answer)
                if progress is not None:
                    progress(done, total)
    finally:
        pool.close()
    return [answer for chunk in answers for answer in chunk]


def serve(socket_number: int) -> None:
    """Run a helper: answer tasks from the inherited socket until the parent closes it."""
    connection = Connection(socket_number)
    try:
        make, arguments = pickle.loads(connection.recv_bytes())
        function = make(*arguments)
        while True:
            key, task = connection.recv()
            failure, answer = None, None
            try:
                answer = function(task)
            except Exception as error:
                failure = _portable(error)
            connection.send((key, failure, answer))
    except (EOFError, ConnectionError):
        # The parent closed the socket or ended. Skips the interpreter's slow clean-up.
        os._exit(0)


def _each(make: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...]) -> Callable:
    function = make(*arguments)
    return lambda tasks: [function(task) for task in tasks]


def _portable(error: Exception) -> Exception:
    """Return a UserError as it is, any other error as a RuntimeError with its traceback."""
    if isinstance(error, UserError):
        return error
    return RuntimeError("".join(traceback.format_exception(error)).rstrip())


def _end(connections: list[Connection], processes: list[subprocess.Popen[bytes]]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        # SIGTERM only: Jittor ends its whole process if a child dies of any other signal.
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
