"""A folder over two nodes of Ray, with processes killed on the way: `python -m research.cluster_run`.

It makes the photographs, enhances them on Ray's own test cluster of two nodes, kills processes meanwhile, and compares
what is there with the ledger and with the plain command. Then it compares one process with two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance.cli.main import main as rlenhance
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.stored_tables import table_made_here
from rlenhance.hub.shipped import sha256
from rlenhance.io import Photo, encode
from rlenhance.io.files import write_atomically

_WARM_UP = 0.1  # share of a run that is left out of its rate: processes begin one after the other
_LARGE = 4000, 3000
_INTERRUPTED = 130  # exit status after Ctrl-C
_TAIL = 0.05  # and at its end, where one of them is done first


@dataclass(frozen=True)
class Arguments:
    """Measure a run over two nodes: what is lost, what is doubled, and how it scales."""

    photos: int = 20_000
    """Photographs of the run in which processes are killed (0: leave it out)."""
    kills: int = 2
    """Processes that are killed, evenly over the run."""
    compared: int = 500
    """Photographs that the plain command enhances too, to compare the bytes (evenly over all)."""
    scaling: int = 2_000
    """Photographs of each run that compares one process with two (0: leave them out)."""
    repeats: int = 2
    """Runs with one process and with two, in turn."""
    cost: int = 2
    """Photographs of 12 megapixels whose CPU seconds are measured, with the plain command (0: leave them out)."""
    size: tuple[int, int] = (64, 48)
    """Width and height."""
    seed: int = 0
    """Of the photographs."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/cluster")
    """Folder of photographs, results, ledgers and the report (report.json); what was interrupted goes on."""
    seconds: float = 0.0
    """Interrupt the run with kills after so long, as Ctrl-C does; the same command goes on (0: never)."""


def main(arguments: Arguments) -> dict[str, Any]:
    """Make, run, audit and print.

    Raises:
        UsageError: Ray is not installed; the folder has a comparison of an earlier run.
    """
    from rlenhance.many.on_ray import check_ray

    if arguments.photos or arguments.scaling:
        check_ray()
    if arguments.scaling and any(arguments.out.glob("enhanced-scaling*")):
        raise UsageError(f"{arguments.out}: has a comparison of an earlier run; name another folder (out)")
    if max(arguments.photos, arguments.scaling):
        make_photographs(arguments.out / "photos", max(arguments.photos, arguments.scaling), arguments.size,
                         arguments.seed)
    report: dict[str, Any] = {"arguments": {name: str(value) for name, value in vars(arguments).items()},
                              "cores": os.cpu_count()}
    tables: list[tuple[list[str], list[list[str]]]] = []
    if arguments.cost:
        report["cost"] = costs(arguments)
        print(*(f"{name}: {value}" for name, value in report["cost"].items()), sep="\n")
    with two_nodes() if arguments.photos or arguments.scaling else nullcontext("") as address:
        if arguments.photos:
            report["killed"] = killed_run(arguments, address)
            tables.append((["what", "number"], [[name, str(value)] for name, value in report["killed"].items()]))
            print(*markdown_table(*tables[-1]), sep="\n")
        if arguments.scaling:
            report["scaling"] = scaling_runs(arguments, address)
            rows = [[str(run["processes"]), f"{run['rate']:.1f}", f"{run['cpu_per_photograph']:.4f}",
                     f"{run['cores_busy_elsewhere']:.2f}", f"{run['seconds']:.1f}"] for run in report["scaling"]]
            tables.append((["processes", "photographs per second", "CPU seconds each", "cores busy elsewhere",
                            "seconds with start and end"], rows))
            print(*markdown_table(*tables[-1]), sep="\n")
            report["of linear"] = of_linear(report["scaling"])
            print(f"two processes: {report['of linear']:.3f} of twice the rate of one")
    report["tables"] = [table_made_here(*table, seed=arguments.seed) for table in tables]
    write_atomically(arguments.out / "report.json", json.dumps(report, indent=2).encode())
    return report


def make_photographs(folder: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """Dark JPEGs of smooth content and noise, a thousand in each folder."""
    width, height = size
    for number in range(count):
        place = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        if place.exists():
            continue
        generator = np.random.default_rng((seed, number))
        y, x = np.mgrid[:height, :width] / max(size)
        light = 40 * generator.random(3) + 30 * np.sin(6 * (x * generator.random() + y * generator.random()))[..., None]
        pixels = np.clip(20 + light + generator.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)
        write_atomically(place, encode(Photo(pixels), ".jpg"))


@contextmanager
def two_nodes() -> Iterator[str]:
    """Ray's test cluster: two nodes of one core each on this machine; its address."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"})
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 128 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def run_command(photos: str, out: Path, address: str, processes: int) -> tuple[int, float]:
    """The command itself: its exit status, and the seconds that it took."""
    began = time.perf_counter()
    status = rlenhance(["enhance", photos, "-r", "-o", str(out), "--on", "ray", "--address", address, "--workers",
                        str(processes), "-q"])
    return status, time.perf_counter() - began


def read_ledger(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run about photographs; an unfinished last one is left out."""
    path = folder / "rlenhance-ledger.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()][1:]


def killed_run(arguments: Arguments, address: str) -> dict[str, Any]:
    """Enhance all, end processes meanwhile with SIGKILL, and compare what is there with what should be."""
    out, photos = arguments.out / "enhanced", arguments.out / "photos"
    sources = sorted(photos.rglob("*.jpg"))[: arguments.photos]
    names = arguments.out / "photos.txt"
    names.write_text("".join(f"{path}\n" for path in sources))
    record = arguments.out / "pieces.jsonl"
    pieces = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    killed: list[str] = [process for piece in pieces for process in piece["killed"]]
    before, over = len(killed), threading.Event()
    killer = threading.Thread(target=_kill, args=(out, len(sources), arguments.kills, killed, over))
    stopper = threading.Timer(arguments.seconds, os.kill, (os.getpid(), signal.SIGINT))
    killer.start()
    if arguments.seconds:
        stopper.start()
    status, seconds = run_command(str(names), out, address, 2)
    stopper.cancel()
    over.set()
    killer.join()
    pieces.append({"status": status, "seconds": seconds, "killed": killed[before:]})
    write_atomically(record, "".join(json.dumps(piece) + "\n" for piece in pieces).encode())
    seconds = sum(piece["seconds"] for piece in pieces)
    lines = read_ledger(out)
    targets = Counter(line["target"] for line in lines)
    results = {str(path.absolute()) for path in out.rglob("*.jpg")}
    hashes = {line["target"]: line["result_sha256"] for line in lines if line["status"] == "written"}
    chosen = sources[:: max(1, len(sources) // max(1, arguments.compared))] if arguments.compared else []
    (arguments.out / "compared.txt").write_text("".join(f"{path}\n" for path in chosen))
    plain = arguments.out / "enhanced-plain"
    if chosen and status != _INTERRUPTED:
        # in a process of its own: the threads of small matrix products are set before NumPy is imported
        words = ["enhance", str(arguments.out / "compared.txt"), "-r", "-o", str(plain), "-q"]
        subprocess.run([sys.executable, "-m", "rlenhance.cli.main", *words], check=True)
    same = sum((out / path.relative_to(plain)).read_bytes() == path.read_bytes() for path in plain.rglob("*.jpg"))
    return {
        "photographs": len(sources), "exit status": status, "processes killed": len(killed),
        "runs that were interrupted": sum(piece["status"] == _INTERRUPTED for piece in pieces),
        "processes that worked": len({line["process"] for line in lines}), "lines of the ledger": len(lines),
        "written": len(hashes), "failed": sum(line["status"] == "failed" for line in lines),
        "results": len(results),
        "left to do" if status == _INTERRUPTED else "lost": len(sources) - len(results & set(hashes)),
        "doubled": sum(count - 1 for count in targets.values()),
        "results that differ from their hash": sum(sha256(Path(name)) != digest for name, digest in hashes.items()),
        "unfinished files": sum(path.name.startswith(".") for path in out.rglob("*")),
        "equal to the plain command, byte for byte": f"{same} of {len(chosen)}",
        "seconds": round(seconds, 1), "photographs per second": round(len(lines) / seconds, 1),
        "CPU seconds": round(sum(line["cpu_seconds"] for line in lines), 1),
        "megapixels": round(sum(line["size"][0] * line["size"][1] for line in lines if line["size"]) / 1e6, 2)}


def _kill(out: Path, photos: int, kills: int, killed: list[str], over: threading.Event) -> None:
    """End a process that works, each time that a further part of the photographs is done."""
    while len(killed) < kills and not over.wait(0.5):
        lines = read_ledger(out)
        if len(lines) > photos * (len(killed) + 1) / (kills + 1):
            process = next(line["process"] for line in reversed(lines) if line["process"] not in killed)
            os.kill(int(process.rpartition(":")[2]), signal.SIGKILL)
            killed.append(process)


def costs(arguments: Arguments) -> dict[str, float]:
    """CPU seconds and bytes per megapixel of large photographs, by the ledger of the plain command."""
    photos, out = arguments.out / "large", arguments.out / "enhanced-large"
    make_photographs(photos, arguments.cost, _LARGE, arguments.seed)
    rlenhance(["enhance", str(photos), "-r", "-o", str(out), "-q", "--workers", "1", "--overwrite", "--ledger",
               str(out / "rlenhance-ledger.jsonl")])
    lines = read_ledger(out)
    megapixels = len(lines) * _LARGE[0] * _LARGE[1] / 1e6
    return {"CPU seconds per megapixel": round(sum(line["cpu_seconds"] for line in lines) / megapixels, 3),
            "megabytes read per megapixel": round(_megabytes(photos) / megapixels, 3),
            "megabytes written per megapixel": round(_megabytes(out) / megapixels, 3),
            "bytes of the ledger per photograph": round((out / "rlenhance-ledger.jsonl").stat().st_size / len(lines))}


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*.jpg")) / 1e6


def scaling_runs(arguments: Arguments, address: str) -> list[dict[str, Any]]:
    """Runs with one process and with two, in turn."""
    names = arguments.out / "scaling.txt"
    sources = sorted((arguments.out / "photos").rglob("*.jpg"))[: arguments.scaling]
    names.write_text("".join(f"{path}\n" for path in sources))
    runs = []
    for number in range(2 * arguments.repeats):
        processes, out = 1 + number % 2, arguments.out / f"enhanced-scaling-{number}"
        before = busy_seconds()
        _, seconds = run_command(str(names), out, address, processes)
        busy = busy_seconds() - before
        lines = read_ledger(out)
        used = sum(line["cpu_seconds"] for line in lines)
        runs.append({"processes": processes, "rate": steady_rate([line["ended"] for line in lines]), "seconds": seconds,
                     "cpu_per_photograph": used / len(lines), "cores_busy_elsewhere": (busy - used) / seconds})
    return runs


def steady_rate(ended: list[float]) -> float:
    """Photographs per second, without the beginning and the end of a run, from the times at which each was done.

    Example:
        >>> steady_rate([float(second) for second in range(101)])
        1.0
    """
    times = sorted(ended)[int(_WARM_UP * len(ended)) : len(ended) - int(_TAIL * len(ended))]
    return (len(times) - 1) / (times[-1] - times[0])


def of_linear(runs: list[dict[str, Any]]) -> float:
    """The mean rate of two processes over twice that of one."""
    one, two = ([run["rate"] for run in runs if run["processes"] == processes] for processes in (1, 2))
    return float(np.mean(two) / (2 * np.mean(one)))


def busy_seconds() -> float:
    """Seconds in which cores of this machine were busy, over all processes; NaN where the system does not report it."""
    if not os.path.exists("/proc/stat"):
        return float("nan")
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, soft, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
