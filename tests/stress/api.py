"""The Python API: whatever array, image, tensor or argument it is given, a whole result or an error that names it."""

import dataclasses
import math
import warnings
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
import torch
from PIL import Image

import rlenhance
from rlenhance import envs
from rlenhance.core.errors import UnknownName, UsageError, one_line
from rlenhance.pipelines.options import PREFERENCES
from tests.stress.registry import Broken, Case, Property

warnings.simplefilter("ignore")
torch.set_num_threads(1)
PIPELINES = {"Enhancer": 1, "Denoiser": 1, "Completer": 1, "Upscaler": 4}
_SHAPES = [(24, 31, 3), (1, 1, 3), (1, 9, 3), (400, 1, 3), (2, 2, 3), (0, 5, 3), (5, 0, 3), (0, 0, 3), (24, 31),
           (24, 31, 1), (24, 31, 4), (24, 31, 0), (3, 24, 31), (2, 24, 31, 3), (2, 3, 24, 31), (0, 3, 24, 31), (), (3,),
           (1,) * 12]
_DTYPES = ["uint8", "uint16", "float32", "float64", "float16", ">u2", ">f4", ">f8", "bool", "int8", "int16", "int32",
           "int64", "uint32", "uint64", "longdouble", "complex64", "object", "U1", "S3", "datetime64[s]", "V3",
           "bfloat16"]
_CONTENTS = ["noise", "noise", "black", "white", "nan", "one nan", "inf", "huge", "negative", "just above one", "tiny"]
_LAYOUTS = ["plain", "turned", "transposed", "every other", "read-only", "broadcast", "unaligned", "fortran", "masked",
            "matrix"]
_MODES = ["RGB", "RGBA", "L", "LA", "I;16", "I;16B", "1", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "La",
          "RGBa", "RGBX"]
_ODD = [None, 5, "a.png", b"a", [[[1, 2, 3]]], {"image": 1}, math.nan]
_NAMES = ("image", "picture", "array", "tensor", "pixels", "mask", "region")
_VALUES = [0, -1, 1, 2, 3, 1.5, 10**9, 10**30, math.nan, math.inf, -math.inf, "x", "", "\0", None, True, [], {}, [1],
           [0], {"x": 1}, {"x": math.nan}, {"name": "tone", "agent_stride": 0}, {"name": "x"}, "/dev/null", "/", "meta"]
#: Arguments of the environments that strangers' values are tried for; each has a default that works.
_ARGUMENTS = {
    "LowLight": ("num_envs", "data", "size", "horizon", "curve", "actions", "reward", "exposure_level", "preferences",
                 "auto", "device", "render_mode", "info_terms", "autoreset_mode"),
    "Denoise": ("num_envs", "data", "size", "horizon", "reward", "device", "render_mode", "info_terms"),
    "Completion": ("num_envs", "data", "holes", "size", "horizon", "start", "strides", "actions", "reward", "device"),
    "CurveOracle": ("num_envs", "size", "horizon", "device"),
}


@cache
def pipeline(name):
    """A pipeline with its shipped network."""
    return getattr(rlenhance, name)()


def cases(rng):
    """Pictures for the pipelines, batches, arguments of environments."""
    for name in PIPELINES:
        pipeline(name)
    while True:
        way = rng.choice(["pipeline"] * 6 + ["batch"] * 2 + ["env", "settings", "weights"])
        if way == "settings":
            name = rng.choice(list(PIPELINES))
            known = [each.name for each in dataclasses.fields(getattr(rlenhance, name).Settings)]
            known += list(PREFERENCES) if name == "Enhancer" else []
            options = {"settings": name, "argument": rng.choice(known), "value": rng.randrange(len(_VALUES))}
        elif way == "weights":
            options = {"weights": rng.choice(["exposure", "exposure_level", "color", "x"]),
                       "value": rng.randrange(len(_VALUES))}
        elif way == "env":
            env = rng.choice(list(_ARGUMENTS))
            options = {"env": env, "argument": rng.choice(_ARGUMENTS[env]), "value": rng.randrange(len(_VALUES))}
        else:
            common = rng.random() < 0.5  # an array that might be right, so that what is behind the door is tried too
            options = {"shape": (24, 31, 3) if common else rng.choice(_SHAPES), "content": rng.choice(_CONTENTS),
                       "dtype": rng.choice(_DTYPES[:8] if rng.random() < 0.7 else _DTYPES),
                       "layout": rng.choice(_LAYOUTS), "seed": rng.randrange(1 << 30)}
            if way == "batch":
                options |= {"batch": rng.choice(["image", "target", "mask", "target_weight", "noise_std"])}
            else:
                options |= {"pipeline": rng.choice(list(PIPELINES)), "mode": rng.choice(_MODES),
                            "kind": rng.choice(["array"] * 3 + ["tensor", "PIL", "odd"]),
                            "mask": rng.choice([None, None, None, "bool", "uint8", "float32", "odd"])}
        yield Case(way, b"", options)


def array(options):
    """The array that options describe."""
    rng, shape, dtype = np.random.default_rng(options["seed"]), tuple(options["shape"]), options["dtype"]
    values, content = np.asarray(rng.random(shape)), options["content"]
    if content in ("black", "white"):
        values = np.full(shape, float(content == "white"))
    elif content != "noise" and values.size:
        odd = {"nan": np.nan, "one nan": np.nan, "inf": np.inf, "huge": 1e30, "negative": -0.5, "just above one": 1.001,
               "tiny": 1e-42}[content]
        values.flat[0 if content == "one nan" else slice(None)] = odd
    with np.errstate(all="ignore"):
        kind = np.dtype("float32" if dtype == "bfloat16" else dtype)
        if kind.kind in "iu":
            whole = np.nan_to_num(values * np.iinfo(kind).max, posinf=0, neginf=0)
            values = np.asarray(whole.clip(0, np.iinfo(kind).max))
        found = np.zeros(shape, kind) if kind.kind in "MV" else values.astype(kind)
    layout = options["layout"]
    if layout == "turned" and found.ndim:
        found = found[tuple(slice(None, None, -1) for _ in shape[:2])]
    elif layout == "transposed":
        found = found.swapaxes(0, 1) if found.ndim > 1 else found
    elif layout == "every other":
        found = found.repeat(2, axis=0)[::2] if found.ndim else found
    elif layout == "read-only" and found.ndim:
        found.flags.writeable = False
    elif layout == "broadcast":
        found = np.broadcast_to(found[..., :1, :], shape) if found.ndim > 1 and shape[-2] else found
    elif layout == "unaligned" and kind.kind != "O":
        raw = np.empty(found.nbytes + 1, np.uint8)[1:].view(kind) if found.nbytes else found.ravel()
        raw = raw.reshape(shape)
        raw[...] = found
        found = raw
    elif layout == "fortran":
        found = np.asfortranarray(found)
    elif layout == "masked":
        found = np.ma.masked_array(found, mask=np.zeros(shape, bool))
    elif layout == "matrix" and found.ndim == 2:
        found = found.view(np.matrix)
    return found


def tensor(options):
    """The same as a tensor, channels first where the shape has three at its end; None where torch has no such kind."""
    found = array(options)
    if found.dtype.kind not in "uifbc" or found.dtype == np.longdouble:
        return None
    plain = np.ascontiguousarray(found.astype(found.dtype.newbyteorder("="))).reshape(found.shape)
    made = torch.from_numpy(np.array(plain, copy=True, subok=False))
    made = made.bfloat16() if options["dtype"] == "bfloat16" else made
    if made.ndim > 2 and made.shape[-1] == 3:
        made = made.movedim(-1, -3)
    return made.requires_grad_() if made.is_floating_point() and options["layout"] == "turned" else made


def check(case, folder):
    """One call."""
    options = case.options
    if "env" in options:
        return _environment(options)
    if "settings" in options:
        return _settings(options)
    if "weights" in options:
        return _weights(options)
    if "batch" in options:
        return _batch(options)
    return _pipeline(options)


def _named(error, names, shown):
    """A refusal names what was wrong with what."""
    if not isinstance(error, UnknownName) and not any(name in str(error) for name in names):
        raise Broken(f"{type(error).__name__} names none of {', '.join(names)} ({shown}): {error}") from error
    raise UsageError(one_line(error)) from error


def _pipeline(options):
    name, kind = options["pipeline"], options["kind"]
    image = array(options)
    good = (image.ndim == 3 and image.shape[2] == 3 and image.size and kind != "odd" and
            options["dtype"] in ("uint8", "uint16", "float32", "float64", "float16", ">u2", ">f4", ">f8") and
            options["content"] in ("noise", "black", "white", "tiny"))
    if kind == "tensor":
        image = tensor(options)
        if image is None:
            return
    elif kind == "PIL":
        height, width = (*options["shape"], 1, 1)[:2]
        image = Image.new(options["mode"], (width, height))
        good = good and options["mode"] in ("RGB", "RGBA", "L", "LA", "I;16")
    elif kind == "odd":
        image = _ODD[options["seed"] % len(_ODD)]
    mask = options["mask"]
    if mask == "odd":
        mask = _ODD[1 + options["seed"] % (len(_ODD) - 1)]
        good = False
    elif mask:
        size = {"PIL": lambda: image.size[::-1], "tensor": lambda: (1, 1, *image.shape)[-2:], "odd": lambda: (3, 4),
                "array": lambda: (*image.shape, 1, 1)[:2]}[kind]()
        mask = np.zeros(size, mask)
        mask[: len(mask) // 2] = 255 if mask.dtype == np.uint8 else 1
        good = good and (name != "Completer" or mask.any())
        if options["content"] == "nan" and mask.dtype.kind == "f":
            mask[:] = np.nan
    before = _copied(image)
    try:
        result = pipeline(name)(image, mask=mask)
    except ValueError as error:
        if good and not (mask is None and name == "Completer"):
            raise Broken(f"a {kind} {options['shape']} {options['dtype']} is refused: {error}") from error
        _named(error, _NAMES, options)
    if type(result) is not type(image) and not isinstance(image, (np.ndarray, Image.Image)):
        raise Broken(f"{type(image)} gives {type(result)}")
    if not _same(before, image):
        raise Broken("the picture that was given was changed")
    if kind == "PIL":
        side, wanted = result.size, image.size
    else:
        cut = slice(-2, None) if kind == "tensor" else slice(0, 2)
        side, wanted = result.shape[cut], image.shape[cut]
        if result.dtype != image.dtype:
            raise Broken(f"{image.dtype} gives {result.dtype}")
        values = torch.as_tensor(result.float() if kind == "tensor" else np.ascontiguousarray(result, np.float64))
        top = 1 if image.dtype in (np.float16, np.float32, np.float64) or (
            kind == "tensor" and image.is_floating_point()) else 65535
        if not values.isfinite().all() or (values < 0).any() or (values > top).any():
            raise Broken(f"values of {values.min()} to {values.max()}")
        if kind == "array" and np.shares_memory(result, image):
            raise Broken("the result shares memory with the picture that was given")
    if kind == "tensor" and not len(image):
        return
    if tuple(side) != tuple(PIPELINES[name] * each for each in wanted):
        raise Broken(f"{tuple(wanted)} gives {tuple(side)}")


def _copied(image):
    if isinstance(image, torch.Tensor):
        return image.detach().clone()
    return image.copy() if isinstance(image, (np.ndarray, Image.Image)) else image


def _same(before, after):
    if isinstance(after, torch.Tensor):
        return torch.equal(before.nan_to_num() if before.is_floating_point() else before,
                           after.nan_to_num() if after.is_floating_point() else after)
    return np.asarray(before).tobytes() == np.asarray(after).tobytes()


def _batch(options):
    """A right batch, but for one of its tensors."""
    value = tensor(options)
    if value is None:
        return
    right = {"image": torch.rand(2, 3, 16, 20), "target": torch.rand(2, 3, 16, 20), "mask": torch.ones(2, 1, 16, 20)}
    try:
        batch = rlenhance.Batch(**right | {options["batch"]: value}).check()
    except ValueError as error:
        _named(error, (options["batch"], "image"), options)
    env = _environments("LowLight")
    try:
        env.reset(options={"batch": batch})
        observation, reward, *_ = env.step({key: torch.zeros(space.shape)
                                            for key, space in env.action_space.spaces.items()})
    except ValueError as error:
        _named(error, (options["batch"], "image", "batch"), options)
    if not torch.isfinite(torch.as_tensor(reward)).all() or not torch.isfinite(observation["image"]).all():
        raise Broken(f"rewards {reward} of {options}")


@cache
def _environments(name):
    return gymnasium.make_vec(f"rlenhance/{name}-v0", num_envs=2, output="torch", size=16)


def _settings(options):
    """A pipeline with one odd setting or preference, and a picture."""
    name, argument, value = options["settings"], options["argument"], _VALUES[options["value"]]
    change = {"preference": {argument: value}} if argument in PREFERENCES else {argument: value}
    picture = np.random.default_rng(0).integers(0, 200, (9, 11, 3), dtype=np.uint8)
    picture[2:5, 2:5] = 0
    try:
        result = pipeline(name).with_settings(**change)(picture, mask=(picture[..., 0] == 0))
    except (TypeError, AttributeError) as error:
        raise UsageError(one_line(error)) from error
    except ValueError as error:
        _named(error, (argument, repr(value), f"{value}"), f"{name} {argument}={value!r}")
    if result.dtype != np.uint8:
        raise Broken(f"uint8 gives {result.dtype}")


def _weights(options):
    """A reward with one odd weight: its sum is finite."""
    name, value = options["weights"], _VALUES[options["value"]]
    try:
        weights = (rlenhance.RewardWeights(exposure_level=value) if name == "exposure_level" else
                   rlenhance.RewardWeights({name: value}))
    except ValueError as error:
        _named(error, (name, name.replace("_", " ")), f"{name}={value!r}")
    if not all(map(math.isfinite, weights.values())):
        raise Broken(f"{name}={value!r} is taken")


def _environment(options):
    """An environment with one odd argument, a reset and a step."""
    name, argument, value = options["env"], options["argument"], _VALUES[options["value"]]
    try:
        env = getattr(envs, f"{name}Env")(**{"size": 16, "horizon": 2} | {argument: value})
        env.reset(seed=0)
        env.step(env.action_space.sample())
    except (TypeError, AttributeError) as error:  # a value of another kind than the argument's: a mistake in a program
        raise UsageError(f"{argument}: {error}".splitlines()[0]) from error
    except (ValueError, OSError) as error:
        if "dictionary update" in str(error):  # dict("x")
            raise UsageError(one_line(error)) from error
        _named(error, (argument, argument.replace("_", " "), repr(value), f"{value}:", f"{Path(str(value))}:"),
               f"{argument}={value!r}")
    except NotImplementedError as error:  # docs/roadmap.md: completion copies its masks to the host
        if value != "meta":
            raise
        raise UsageError(one_line(error)) from error
    except MemoryError as error:  # whole numbers that are too large together
        raise UsageError(one_line(error)) from error


PROPERTY = Property("api", "Any array, tensor or argument gives a whole result or an error that names it.", cases,
                    check, share=1, seconds=20, mib=1500, block=40, short=20, names=False)
