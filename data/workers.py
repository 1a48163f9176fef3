"""Helper processes that read files while the main process computes.

Processes and not threads: Jittor holds Python's global lock for the whole of a step, so that no
thread of its process runs meanwhile. Own processes and not `multiprocessing`: its 'fork' is unsafe
once Jittor, CUDA or MPI have started, and its 'spawn' imports the main program, and so Jittor, anew
in each helper. A helper imports what it is given to do and nothing else, and ends with its parent,
however that ends.
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
# Below this many items, starting helpers takes longer than the work.
_FEW = 24


class InlinePool(Generic[T, R]):
    """Runs each task in this process, when its answer is asked for; else as a ProcessPool."""

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
    """Runs tasks in helper processes, each task given to the helper with the fewest waiting.

    `make(*arguments)` is called once in each helper and returns the function of one task; `make`,
    arguments, tasks and answers are pickled, so `make` is a module's own function. `files` are
    descriptors that the helpers inherit under their numbers. Hand in few tasks of much work rather
    than many of little: up to some dozens may wait at a helper.
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
        # pickle.dumps, once for all: ten thousand pairs are a few megabytes.
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
        """Hand in a task; its answer comes back with its key."""
        index = self._waiting.index(min(self._waiting))
        self._waiting[index] += 1
        try:
            self._connections[index].send((key, task))
        except OSError:
            self._lost(index)

    def receive(self) -> tuple[Any, R]:
        """Wait for an answer and return its task's key and itself; raise what the task raised."""
        busy = [c for c, n in zip(self._connections, self._waiting, strict=True) if n]
        if not busy:
            raise RuntimeError("no task is waiting for its answer")
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
        """Drop what is unfinished and end the helpers."""
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
                    # NumPy starts a thread a core for linear algebra that is never used here.
                    env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    # A Ctrl-C goes to the terminal's foreground group: the parent decides.
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
            f"a process that reads pictures ended ({how}); where memory is short, use fewer workers"
        )


def run_all(
    make: Callable[..., Callable[[T], R]],
    arguments: Sequence[Any],
    items: Sequence[T],
    *,
    workers: int,
    progress: Progress | None = None,
) -> list[R]:
    """Apply `make(*arguments)` to every item and return the answers in the items' order.

    In helper processes, or in this one where `workers` < 2 or items are few. `progress(done,
    total)` is called as answers come. Raises what an item raised, after ending the helpers.
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
    """Be a helper: answer tasks from the inherited socket until the parent closes it."""
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
        # The parent is done with us or gone. Nothing here is worth the interpreter's clean-up.
        os._exit(0)


def _each(make: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...]) -> Callable:
    function = make(*arguments)
    return lambda tasks: [function(task) for task in tasks]


def _portable(error: Exception) -> Exception:
    """Return the error itself where it is the user's to mend, else its traceback as a text."""
    if isinstance(error, UserError):
        return error
    return RuntimeError("".join(traceback.format_exception(error)).rstrip())


def _end(connections: list[Connection], processes: list[subprocess.Popen[bytes]]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        # SIGTERM alone: Jittor ends its whole process when a child dies of any other signal.
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
