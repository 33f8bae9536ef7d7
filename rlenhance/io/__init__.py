"""Read, write and name photographs, one or a batch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlenhance.io.batch import Outcome, run_batch
    from rlenhance.io.discovery import STDIO, list_photos
    from rlenhance.io.files import EXTENSIONS, Photo, decode, encode, read, write, write_bytes
    from rlenhance.io.limits import PhotoWarning
    from rlenhance.io.output_plan import BatchPlan, Job, OutputNaming, make_plan

# Loaded on first use: names and places of files are checked before anything that reads pictures is imported.
_HOMES = {
    "batch": ("Outcome", "run_batch"), "discovery": ("STDIO", "list_photos"), "limits": ("PhotoWarning",),
    "files": ("EXTENSIONS", "Photo", "decode", "encode", "read", "write", "write_bytes"),
    "output_plan": ("BatchPlan", "Job", "OutputNaming", "make_plan"),
}
__all__ = [
    "EXTENSIONS", "STDIO", "BatchPlan", "Job", "Outcome", "OutputNaming", "Photo", "PhotoWarning", "decode",
    "encode", "list_photos", "make_plan", "read", "run_batch", "write", "write_bytes",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"rlenhance.io.{module}"), name)
    raise AttributeError(f"module 'rlenhance.io' has no attribute {name!r}; it offers {', '.join(__all__)}")
