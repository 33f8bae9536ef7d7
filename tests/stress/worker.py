"""A worker process: imports the properties that it is given, tries their cases, prints each result as a line of JSON.

`python -m tests.stress.worker '{"names": [...], "seed": 0, "shard": 0, "shards": 1, ...}'`, started by the suite.
"""

import json
import random
import signal
import sys
import time
from itertools import islice
from pathlib import Path

from tests.stress import registry, watch


def main(order: dict) -> None:
    """Try the cases of each property until its seconds are over or its cases end.

    Args:
        order: names; seed; shard of shards (each takes every shards-th case); seconds for each property, or None;
            cases: the most of each property, None for no end, 0 for those of the short form; case: the file of one
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the suite ends its workers itself
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the child of the block is killed too
    tries = sys.stdout
    for name in order["names"]:
        law = registry.load(name)

        def tell(result, name=name):
            case = result.case
            failed = result.outcome not in ("whole", "refused")
            print(json.dumps({"property": name, "outcome": result.outcome, "text": result.text if failed else "",
                              "seconds": result.seconds, "mib": result.mib, "counts": result.counts, "name": case.name,
                              **({"data": case.data.hex(), "options": dict(case.options)} if failed else {})}),
                  file=tries, flush=True)

        if order.get("case"):
            found = json.loads(Path(order["case"]).read_text())
            case = registry.Case(found["name"], bytes.fromhex(found["data"]), found["options"])
            watch.run(law, [case], tell)
            continue
        most = law.short if order["cases"] == 0 else order["cases"]
        stream = islice(law.cases(random.Random(f"{order['seed']} {name}")), order["shard"], None, order["shards"])
        stream = islice(stream, most)
        until = time.monotonic() + order["seconds"] if order["seconds"] else float("inf")
        while time.monotonic() < until:
            block = list(islice(stream, law.block))
            if not block:
                if most is None:
                    print(json.dumps({"property": name, "all": True}), file=tries, flush=True)
                break
            watch.run(law, block, tell, until)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
