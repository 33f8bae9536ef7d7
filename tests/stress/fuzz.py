"""Coverage-guided search (Atheris, libFuzzer) for inputs that break the laws of our readers; they stand in parsers.py.

`python -m tests.stress.fuzz READER SEED RUNS FOLDER` is one search in a process of its own, which the property starts.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.stress.registry import Broken, Case, Found, Property

_INSTRUMENTED = ["rlenhance.io", "rlenhance.learning.data.tfrecords", "rlenhance.pipelines.looks",
                 "rlenhance.pipelines.options", "rlenhance.core.json_files",
                 "PIL.TiffImagePlugin", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"]
_SLOW = {"profile": 50, "picture": 4, "tiff_file": 3, "exif_kept": 5, "checksum": 10}  # times an input of the others
_SECONDS = 2.0  # of CPU that one input of at most 64 KiB may take


def cases(rng):
    """One search of each reader after the other, each round longer than the one before it."""
    from tests.stress.parsers import TARGETS

    runs = 600
    while True:
        for target in TARGETS:
            yield Case(target, options={"target": target, "seed": rng.randrange(1, 1 << 31),
                                        "runs": runs // _SLOW.get(target, 1)})
        runs = min(4 * runs, 100_000)


def check(case, folder):
    """A search; or one input that a search found."""
    if case.data:
        from tests.stress import parsers

        parsers.check(case, folder)
        return None
    options = case.options
    done = subprocess.run([sys.executable, "-m", "tests.stress.fuzz", options["target"], str(options["seed"]),
                           str(options["runs"]), str(folder)], cwd=Path(__file__).parents[2], capture_output=True)
    log = done.stderr.decode(errors="replace")[-3000:]
    inner = {"target": options["target"]}
    if (folder / "found.json").exists():
        found = json.loads((folder / "found.json").read_text())
        raise Found(found["outcome"], found["text"], Case(case.name, bytes.fromhex(found["data"]), inner))
    for kind, outcome in (("timeout", "hung"), ("oom", "fat"), ("crash", "crashed")):
        for path in folder.glob(f"{kind}-*"):
            raise Found(outcome, log, Case(case.name, path.read_bytes(), inner))
    if done.returncode:
        raise RuntimeError(f"the search ended with status {done.returncode}: {log}")
    return json.loads((folder / "counts.json").read_text())


def search(target, seed, runs, folder):
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.stress import parsers
    tried, folder = 0, Path(folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(parsers.seeds(target)):
        (corpus / str(number)).write_bytes(data)
    read = getattr(parsers, target)

    def one(data):
        nonlocal tried
        tried, start, outcome = tried + 1, time.process_time(), ""
        try:
            read(data)
            if time.process_time() - start > _SECONDS:
                outcome, text = "hung", f"{time.process_time() - start:.1f} s of CPU for {len(data)} bytes"
        except Broken as error:
            outcome, text = "wrong", str(error)
        except BaseException:
            outcome, text = "crashed", traceback.format_exc()
        if outcome:
            (folder / "found.json").write_text(json.dumps({"outcome": outcome, "text": text, "data": data.hex()}))
        if outcome or tried == runs:
            (folder / "counts.json").write_text(json.dumps({"whole": tried}))
            os._exit(0)

    atheris.Setup([sys.argv[0], str(corpus), f"-seed={seed}", f"-artifact_prefix={folder}/", "-max_len=65536",
                   "-timeout=300", "-rss_limit_mb=4000", "-detect_leaks=0", "-len_control=0"], one)
    atheris.Fuzz()


PROPERTY = Property("fuzz", "A search that is guided by coverage finds no input that breaks a law of our readers.",
                    cases if importlib.util.find_spec("atheris") else lambda rng: iter(()), check, share=2, seconds=600,
                    wall=3600, mib=4000, block=4, short=0, names=False)

if __name__ == "__main__":
    search(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
