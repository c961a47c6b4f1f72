"A sweep goes on where it was interrupted, and a worker that dies costs the cell that killed it"
import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kalshi_mm.research.sweep import run_cells


def square(n: int) -> int:
    if n == 13: os.kill(os.getpid(), signal.SIGKILL)
    if n == 7: raise ValueError("seven")
    return n * n


def test_a_worker_that_dies_costs_the_cell_that_killed_it():
    found: dict[Any, Any] = {}
    failed = run_cells({n: (n,) for n in range(40)}, square, found.__setitem__, jobs=2)
    assert found == {n: n * n for n in range(40) if n not in (7, 13)}
    assert failed.keys() == {7, 13} and failed[7] == "ValueError: seven" and "terminated" in failed[13]


def test_two_that_die_are_both_found():
    found: dict[Any, Any] = {}
    cells = {"a": (13,), "b": (1,), "c": (13,), "d": (2,)}
    assert run_cells(cells, square, found.__setitem__, jobs=2).keys() == {"a", "c"} and found == {"b": 1, "d": 4}


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_it_runs_on_an_executor_that_the_caller_brings(kind: Any):
    found: dict[Any, Any] = {}
    with kind(2) as executor: failed = run_cells({n: (n,) for n in range(10)}, square, found.__setitem__, executor=executor)
    assert found == {n: n * n for n in range(10) if n != 7} and failed == {7: "ValueError: seven"}


def test_it_runs_on_a_cluster(tmp_path: Path):
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    found: dict[Any, Any] = {}
    with (distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster,
          distributed.Client(cluster) as client):  # fmt: skip
        failed = run_cells({n: (n,) for n in range(10)}, square, found.__setitem__, executor=client.get_executor())
    assert found == {n: n * n for n in range(10) if n != 7} and failed == {7: "ValueError: seven"}
