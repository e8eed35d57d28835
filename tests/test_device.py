"""What a training may take of the machine: threads and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avsed.device import free_memory, multiplies_halves, set_threads
from avsed.features.threads import available_cores
from avsed.memory import SHARING, free_host_memory
from avsed.training import distributed


def test_threads_come_from_the_option_then_the_environment_then_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert (set_threads(None), set_threads(2)) == (3, 2)
        for value in ("0", "many", "", "-2"):
            monkeypatch.setenv("OMP_NUM_THREADS", value)
            assert set_threads(None) == available_cores()
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert set_threads(None) == available_cores()
    finally:
        torch.set_num_threads(1)


def test_units_for_bfloat16_are_those_that_the_processor_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for told, expected in (
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False}, False),
        ({"bf16": False}, False),
        ({}, True),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=told: told, raising=False)
        assert multiplies_halves(cpu) == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert multiplies_halves(cpu)  # not known: nothing to warn of


def test_processes_that_share_a_device_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert distributed.sharing(cpu) == 1
    monkeypatch.setenv(SHARING, "2")
    assert distributed.sharing(cpu) == distributed.sharing(gpu) == 2
    monkeypatch.setattr("avsed.device.free_host_memory", lambda: 30)
    assert (free_memory(cpu), free_memory(cpu, sharing=2)) == (30, 15)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70, 80))
    assert (free_memory(gpu), free_memory(gpu, sharing=2)) == (70, 40)


def test_free_memory_is_what_is_available_within_the_limits(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert free_host_memory(tmp_path) is None
    write("proc/meminfo", "MemTotal: 16000 kB\nMemFree: 100 kB\nMemAvailable:    9000 kB\n")
    assert free_host_memory(tmp_path) == 9000 * 1024
    write("proc/self/cgroup", "4:memory:/job/1\n2:cpu:/\n0::/slice/unit\n")
    write("sys/fs/cgroup/slice/unit/memory.max", "max\n")
    write("sys/fs/cgroup/slice/unit/memory.current", "500\n")
    assert free_host_memory(tmp_path) == 9000 * 1024
    write("sys/fs/cgroup/slice/memory.max", "800000\n")  # the limit of a group around it
    write("sys/fs/cgroup/slice/memory.current", "300000\n")
    write("sys/fs/cgroup/slice/memory.stat", "anon 7\ninactive_file 200000\n")
    assert free_host_memory(tmp_path) == 700_000
    write("sys/fs/cgroup/memory/job/1/memory.limit_in_bytes", "4000\n")
    write("sys/fs/cgroup/memory/job/1/memory.usage_in_bytes", "5000\n")
    write("sys/fs/cgroup/memory/job/1/memory.stat", "inactive_file 1\ntotal_inactive_file 1500\n")
    assert free_host_memory(tmp_path) == 500
    assert free_memory(torch.device("cpu")) > 0
