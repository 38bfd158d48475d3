"""How many threads a process takes: the machine's, shared among its processes, unless the user said another number."""

import os
import subprocess
import sys

import pytest
import torch

from diffusion_base.processes import process_state

WAIT = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def launched(monkeypatch):
    """This process as if a launcher had started it on six cores: a real process, told apart by its own words."""
    started, threads = [], torch.get_num_threads()
    process_state()  # Accelerate reads the launcher's variables only once
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)

    def launch(*flags: str, theirs: dict[str, str], ours: dict[str, str]) -> None:
        command = [sys.executable, "-S", "-c", WAIT, "launch", *flags]
        launcher = subprocess.Popen(command, env=theirs, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        launcher.stdout.readline()
        started.append(launcher)
        monkeypatch.setattr(os, "getppid", lambda: launcher.pid)
        for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ours.items():
            monkeypatch.setenv(name, value)
        torch.set_num_threads(1)

    yield launch
    torch.set_num_threads(threads)
    for launcher in started:
        launcher.communicate()


ACCELERATE = {"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}
TWO = {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("flags", "theirs", "ours", "threads"),
    [
        ([], {}, ACCELERATE, 6),
        ([], {}, TWO, 3),
        ([], {}, TWO | {"LOCAL_WORLD_SIZE": "8"}, 1),
        ([], {"OMP_NUM_THREADS": "1"}, ACCELERATE, 1),  # the user's own
        (["--num_cpu_threads_per_process=1"], {}, ACCELERATE, 1),
        (["--num-cpu-threads-per-process", "1"], {}, ACCELERATE, 1),
        ([], {}, {"OMP_NUM_THREADS": "1"}, 1),  # no launcher
        ([], {}, {}, 1),  # torch's own number is left as it is
    ],
)
def test_threads_of_a_process(launched, flags, theirs, ours, threads):
    launched(*flags, theirs=theirs, ours=ours)
    process_state()
    assert torch.get_num_threads() == threads


def test_a_launcher_that_has_ended(launched, monkeypatch):
    launched(theirs={}, ours=ACCELERATE)
    monkeypatch.setattr(os, "getppid", lambda: 2**22 + 1)
    process_state()
    assert torch.get_num_threads() == 6
