"""Read, write and name photographs, one or a batch."""

from rlenhance.io.batch import Outcome, run_batch
from rlenhance.io.discovery import STDIO, list_photos
from rlenhance.io.files import EXTENSIONS, Photo, decode, encode, read, write, write_bytes
from rlenhance.io.limits import PhotoWarning
from rlenhance.io.output_plan import BatchPlan, Job, OutputNaming, make_plan

__all__ = [
    "EXTENSIONS", "STDIO", "BatchPlan", "Job", "Outcome", "OutputNaming", "Photo", "PhotoWarning", "decode",
    "encode", "list_photos", "make_plan", "read", "run_batch", "write", "write_bytes",
]
