"""Photographs on disk: reading, writing, naming, and many of them at once."""

from rlenhance.io.batch import Outcome, run_batch
from rlenhance.io.discovery import STANDARD, list_photos
from rlenhance.io.files import EXTENSIONS, Photo, decode, encode, read, store, write
from rlenhance.io.limits import PhotoWarning
from rlenhance.io.output_plan import Job, Naming, Plan, make_plan

__all__ = ["EXTENSIONS", "STANDARD", "Job", "Naming", "Outcome", "Photo", "PhotoWarning", "Plan", "decode", "encode",
           "list_photos", "make_plan", "read", "run_batch", "store", "write"]
