"""`python -m tests.stress`: try every property for some minutes and report; see the package's text."""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.stress import registry
from tests.stress.report import Report

_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


def _start(order: dict, lines: queue.SimpleQueue) -> subprocess.Popen:
    """A worker whose lines arrive in the queue, None at its end."""
    worker = subprocess.Popen([sys.executable, "-m", "tests.stress.worker", json.dumps(order)], stdout=subprocess.PIPE,
                              env=os.environ | _ONE_THREAD, text=True, start_new_session=True)

    def read() -> None:
        for line in worker.stdout:
            lines.put(json.loads(line))
        lines.put({"ended": order, "status": worker.wait()})

    threading.Thread(target=read, daemon=True).start()
    return worker


def _orders(args: argparse.Namespace, names: list[str], job: int):
    """What one job does: one property after the other, each with its share of the time that is left."""
    begun, shares = time.monotonic(), {name: registry.load(name).share for name in names}
    order = {"seed": args.seed, "shard": job, "shards": args.jobs, "cases": args.cases}
    if args.cases is not None and not args.minutes:  # a few cases: one worker, whose imports serve all
        yield order | {"names": names, "seconds": None}
        return
    for place, name in enumerate(names):
        left = 60 * args.minutes - (time.monotonic() - begun)
        yield order | {"names": [name], "seconds": max(1.0, left * shares[name] / sum(map(shares.get, names[place:])))}


def main(argv: list[str] | None = None) -> int:
    """Run the suite; -> 1 where a law was broken, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=main.__doc__)
    parser.add_argument("--minutes", type=float, help="for all properties together (default 10, without --cases)")
    parser.add_argument("--cases", type=int, help="the most of each property; 0: those of the short form")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=registry.names(), help="these properties")
    parser.add_argument("--out", type=Path, default=Path("runs/stress"))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run a stored failure again")
    args = parser.parse_args(argv)
    if args.cases is None:
        args.minutes = args.minutes or 10
    names, plans = args.only or registry.names(), []
    if args.replay:
        names = [json.loads(args.replay.read_text())["property"]]
        plans = [iter([{"names": names, "seed": 0, "case": str(args.replay)}])]
    else:
        plans = [_orders(args, names, job) for job in range(args.jobs)]
    report, lines, begun = Report(args.out, names, args.seed), queue.SimpleQueue(), time.monotonic()
    workers: dict[int, subprocess.Popen] = {}
    status, said = 0, begun

    def start(job: int) -> None:
        order = next(plans[job], None)
        if order:
            workers[job] = _start(order | {"job": job}, lines)

    try:
        for job in range(len(plans)):
            start(job)
        while workers:
            line = lines.get()
            if "ended" not in line:
                report.add(line)
            else:
                job = line["ended"]["job"]
                del workers[job]
                if line["status"]:  # the worker itself, not its children: a property that cannot be imported, no memory
                    report.add({"property": line["ended"]["names"][0], "outcome": "crashed", "name": "the worker",
                                "text": f"ended with status {line['status']}", "seconds": 0, "mib": 0, "counts": None})
                start(job)
            if time.monotonic() > said + 60:
                said = time.monotonic()
                report.write("so far")
                print(f"{(said - begun) / 60:.0f} min: {report.tried:,} tried, {report.failed} failed", file=sys.stderr,
                      flush=True)
    except KeyboardInterrupt:
        status = 130
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait()
    command = f"python -m tests.stress {' '.join(sys.argv[1:] if argv is None else argv)}".strip()
    print(report.write(f"`{command}`: {(time.monotonic() - begun) / 60:.1f} minutes"
                       f"{', interrupted' if status else ''}, {report.failed} failures"))
    return status or int(report.failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
