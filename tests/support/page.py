"""The page in this process: a request for an enhanced photograph, and files as uploads leave them."""

import shutil

import numpy as np
from PIL import Image

from rlenhance.pipelines.options import EnhanceSettings
from rlenhance.web.service import EnhanceRequest


def ask(model=None, preference=None, strip=False, format=None, **settings):
    """A request for an enhanced photograph."""
    return EnhanceRequest(EnhanceSettings(preference=preference or {}, **settings), model, strip, format)


NIGHT = np.random.default_rng(0).integers(0, 50, (60, 80, 3), dtype=np.uint8)


def put(service, source, name=None):
    """A file on the shelf, as the page's upload leaves it."""
    stored = service.store.create(name or source.name)
    shutil.copy(source, stored.path)
    return stored.token


def jpeg(size=(60, 80)):
    """The bytes of a dark photograph."""
    from io import BytesIO

    file = BytesIO()
    Image.fromarray(np.resize(NIGHT, (*size, 3))).save(file, "JPEG")
    return file.getvalue()
