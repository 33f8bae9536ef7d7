"""Photographs over the processes of a Ray cluster: the bytes of the plain command, whatever is killed on the way."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.many import on_ray
from rlenhance.many.on_ray import ATTEMPTS, RayPool
from rlenhance.many.work import Task, Work

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def address():
    """A cluster of two nodes on this machine, with a core each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=nodes | {"include_dashboard": False})
    cluster.add_node(**nodes)
    yield cluster.address
    cluster.shutdown()


def write_album(folder, count):
    for number in range(count):
        write(np.full((6, 8, 3), number % 250, np.uint8), folder / f"{number % 3}/{number}.png")


def make_tasks(folder):
    return [Task(str(path), str(folder.parent / "out" / path.name)) for path in sorted(folder.rglob("*.png"))]


class Brighter:
    """A process that can be told to end its process, or to wait."""

    def __init__(self, folder, kills=(), most=10**9, wait=0.0):
        self.folder, self.kills, self.most, self.wait = folder, kills, most, wait

    def __call__(self, photo):
        name = Path(photo.name).name
        killed = self.folder / f"killed-{name}"
        times = len(killed.read_bytes()) if killed.exists() else 0
        if name in self.kills and times < self.most:
            with killed.open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.wait)
        return photo.with_pixels(photo.pixels + 1), {}


@pytest.mark.slow
def test_killed_processes_lose_and_double_nothing(address, tmp_path):
    """Two processes end in the middle of their work; each photograph is told once, as written."""
    write_album(tmp_path / "photos", 60)
    work = Work(Brighter(tmp_path, ("10.png", "41.png"), most=1), in_flight=2)
    entries = list(RayPool(work, address, 2)(make_tasks(tmp_path / "photos")))
    assert len(entries) == len({entry["target"] for entry in entries}) == 60
    assert {entry["status"] for entry in entries} == {"written"}
    assert len({entry["process"] for entry in entries}) >= 2
    assert (tmp_path / "killed-10.png").exists() and (tmp_path / "killed-41.png").exists()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.slow
def test_a_photograph_that_ends_its_process_each_time_fails_alone(address, tmp_path):
    """As where its decoder crashes: after a few attempts it is told, and the others are written."""
    write_album(tmp_path / "photos", 60)
    work = Work(Brighter(tmp_path, ("7.png",)), in_flight=2)
    entries = list(RayPool(work, address, 2)(make_tasks(tmp_path / "photos")))
    (failed,) = [entry for entry in entries if entry["status"] == "failed"]
    assert failed["source"].endswith("7.png") and f"ended its process {ATTEMPTS} times" in failed["error"]
    assert len(entries) == 60


@pytest.mark.slow
def test_the_command_on_a_cluster_writes_what_it_writes_alone(address, tmp_path, monkeypatch, capsys):
    """Two nodes, a damaged photograph and an awkward name: bytes, counts, ledger, table, and the second run."""
    write_album(tmp_path / "photos", 20)
    (tmp_path / "photos/bad, one\n.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    words = ["enhance", "photos", "-r"]
    assert main([*words, "-o", "plain", "-q"]) == 2
    assert main([*words, "-o", "out", "--on", "ray", "--address", address, "--max-failure-rate", "0.1"]) == 0
    told = capsys.readouterr()
    assert "20 written, 1 failed" in told.out and "failures -> out/rlenhance-failures.parquet" in told.err
    for path in (tmp_path / "plain").rglob("*.png"):
        other = tmp_path / "out" / path.relative_to(tmp_path / "plain")
        assert other.read_bytes() == path.read_bytes()
    ledger = [json.loads(line) for line in (tmp_path / "out/rlenhance-ledger.jsonl").read_text().splitlines()]
    assert len(ledger) == 22 and len({entry.get("target") for entry in ledger}) == 22
    (tmp_path / "photos/bad, one\n.png").unlink()
    assert main([*words, "-o", "out", "--on", "ray", "--address", address]) == 0
    assert "20 photographs are done already" in capsys.readouterr().err


@pytest.mark.parametrize("place, said", [("127.0.0.1:1", "no Ray cluster answers"), ("nonsense", "host:port"),
                                         ("256.1.1.1:6379", "no Ray cluster answers")])
def test_an_address_where_nothing_is_is_refused_at_once(tmp_path, place, said):
    """Ray itself would try for minutes."""
    began = time.monotonic()
    with pytest.raises(UsageError, match=said):
        list(RayPool(Work(Brighter(tmp_path)), place)([Task("a.png", "b.png")]))
    assert time.monotonic() - began < 30


def test_an_address_of_something_else_is_refused(tmp_path, monkeypatch):
    """A port that is open, where no Ray is."""
    monkeypatch.setattr(on_ray, "_PROBE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UsageError, match="no Ray cluster answers"):
        list(RayPool(Work(Brighter(tmp_path)), f"127.0.0.1:{server.getsockname()[1]}")([Task("a.png", "b.png")]))


@pytest.mark.slow
def test_a_process_that_cannot_begin_ends_the_run(address, tmp_path):
    """A machine with another version is told, and nothing is written."""
    write_album(tmp_path / "photos", 2)
    with pytest.raises(UsageError, match="no_such_plugin"):
        list(RayPool(Work(Brighter(tmp_path)), address, 1, 0, ["no_such_plugin.py"])(make_tasks(tmp_path / "photos")))
    with pytest.raises(UsageError, match="2 cores for 3 processes"):
        list(RayPool(Work(Brighter(tmp_path)), address, 3)(make_tasks(tmp_path / "photos")))
