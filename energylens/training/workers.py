"""Worker processes that never outlive the process that started them, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import Any

SPAWN = multiprocessing.get_context("spawn")  # a forked torch may hang


def leave_with_parent() -> None:
    """Called in a worker: from now on it ends as soon as its parent is gone, even where that one was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker has a parent to leave with"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def deaf() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C, which a terminal sends to everybody.

    Their parent ends them, and speaks for them.

    Yields:
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears, and may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which children inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def spread(number: int) -> None:
    """Called in a worker, the ``number``-th from 0: it computes on that one of the machine's GPUs, going round.

    Args:
        number: of the worker, from 0.
    """
    import torch

    if torch.accelerator.is_available() and (devices := torch.accelerator.device_count()) > 1:
        torch.accelerator.set_device_index(number % devices)


@contextmanager
def workers(jobs: int, begin: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` processes, each of which calls ``begin(*arguments)`` first; they share out the machine's GPUs.

    Submit their work inside ``deaf``.

    Where the block ends by an exception, Ctrl-C among them, they are ended at once.

    Args:
        jobs: how many processes.
        begin: what each calls first, importable by name.
        *arguments: of that call; they are pickled.

    Yields:
        The pool, to which work is submitted.
    """
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        jobs, mp_context=SPAWN, initializer=_begin, initargs=(SPAWN.Value("i", 0), begin, *arguments)
    ) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _begin(begun: Synchronized[int], begin: Callable[..., None], *arguments: Any) -> None:
    leave_with_parent()
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    spread(number)
    begin(*arguments)
