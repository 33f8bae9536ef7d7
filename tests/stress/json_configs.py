"""config.json of runs, recipes, presets and scores from a stranger: each is taken, or one line names the file."""

import dataclasses
import functools
import json
import shutil

from rlenhance.experiments.core.plugins import settings_record
from rlenhance.experiments.core.run import KIND, Run
from rlenhance.experiments.core.scores import ScoreCache, ScoreEntry
from rlenhance.experiments.core.train import load_settings
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_evaluate import data_of
from rlenhance.experiments.tasks.rse.task import RSETask
from rlenhance.hub import shipped
from rlenhance.pipelines.looks import load_look, load_preset
from rlenhance.pipelines.options import PRESETS
from rlenhance.web.run_reader import list_runs, open_run
from tests.stress._json import mutated
from tests.stress.registry import Case, Property

_TASKS = {"lowlight": LOWLIGHT, "rse": RSETask()}
_WORDS = ("a3c", "direct", "supervised", "compact", "curve", "auto", "cuda", "natural", "MODULE:function")


def _run(name):
    record = json.loads(json.dumps(settings_record(_TASKS[name].Config()), default=str))
    return {"kind": KIND, "arguments": record, "format": 2, "task": name, "versions": {"python": "3"},
            "data": {"source": "x", "digest": {"train": "0"}, "skipped": []}, "plugins": [], "reward_terms": {}}


@functools.cache
def _values():
    presets = {path.name: json.loads(path.read_text()) for path in PRESETS.glob("*.json")}
    digest = shipped.read_sums(shipped.FOLDER)["natural/model.safetensors"]
    recipe = {"kind": "rlenhance recipe", "model": "natural", "sha256": digest, "version": "0.2",
              "preference": {"exposure_level": 0.5}, "strength": 1.0, "made_with": {"torch": "2"}}
    return {"run lowlight": _run("lowlight"), "run rse": _run("rse"), "recipe": recipe,
            "scores": {"p a": dataclasses.asdict(ScoreEntry([{"psnr": 1.0}]))}, **presets}


def cases(rng):
    """Every kind of file in turn, changed."""
    while True:
        for name, value in _values().items():
            yield Case(name, mutated(rng, value, _WORDS))


def check(case, folder):
    """Read the file as its commands do."""
    kind, _, task = case.name.partition(" ")
    if kind == "run":
        place = folder / case.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "config.json").write_bytes(case.data)
        data_of(place)
        for label in list_runs(folder):
            open_run(folder, label)
        _, stored = Run.open(place)
        load_settings(_TASKS[task].Config, place, stored)
    elif kind == "scores":
        place = folder / "scores"
        place.mkdir(exist_ok=True)
        (place / "scores.json").write_bytes(case.data)
        ScoreCache(place, "p").get_or_compute("a", lambda: ScoreEntry([]))
    else:
        path = folder / (case.name if case.name.endswith(".json") else f"{case.name}.json")
        path.write_bytes(case.data)
        load_look(path, "recipe") if kind == "recipe" else load_preset(str(path))


PROPERTY = Property("json_configs", "config.json of a run, recipes, presets and scores from elsewhere are taken, or "
                    "one line names the file.", cases, check, share=0.6, seconds=10, mib=600, block=200, short=12)
