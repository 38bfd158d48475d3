"""Processes for tests, forked from a server that has done the imports once: a start takes no seconds then.

What they run must be importable: a function of a test's own module, or of one beside it.
"""

import multiprocessing
import os
import socket
from multiprocessing.process import BaseProcess

import torch
from torch.utils.data._utils import worker

IMPORTED = ["diffusion_base.training.loop", "diffusion_base.generation", "transformers.models.clip.modeling_clip"]


def in_process(function, *arguments, **options) -> int:
    """Run in a fresh process; returns its exit code, -9 after SIGKILL."""
    process = start_process(function, *arguments, **options)
    process.join(600)
    return process.exitcode


def in_two_processes(function, *arguments, **options) -> None:
    """Run in two processes that find each other, as under `accelerate launch --multi_gpu --num_processes 2`."""
    processes = start_two_processes(function, *arguments, **options)
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]


def start_two_processes(function, *arguments, **options) -> list[BaseProcess]:
    """Begin to run in two processes that find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2))
    return [_start(common | rank, function, arguments, options) for rank in ranks]


def start_process(function, *arguments, **options) -> BaseProcess:
    """Begin to run in a fresh process."""
    return _start({}, function, arguments, options)


def _start(environment, function, arguments, options) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    # sums are cut into as many parts as there are threads, so the same bits need the same number
    process = context.Process(target=_run, args=(torch.get_num_threads(), environment, function, arguments, options))
    process.start()
    return process


def _run(threads, environment, function, arguments, options) -> None:
    torch.set_num_threads(threads)
    os.environ |= {"OMP_NUM_THREADS": str(threads)} | environment  # accelerate sets another number where none is named
    worker.MP_STATUS_CHECK_INTERVAL = 0.2  # seconds until loader workers notice that their parent was killed
    # a loader's workers must be children of the process that is killed, not of the server: else they live on
    multiprocessing.set_start_method("fork", force=True)
    function(*arguments, **options)
