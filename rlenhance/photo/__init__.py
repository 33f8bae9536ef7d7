"""Photographs on disk: reading, writing, naming, and many of them at once."""

from rlenhance.photo.batch import Outcome, run_batch
from rlenhance.photo.files import EXTENSIONS, Photo, read, write
from rlenhance.photo.folders import STANDARD, list_photos
from rlenhance.photo.plan import Job, Naming, Plan, make_plan

__all__ = ["EXTENSIONS", "STANDARD", "Job", "Naming", "Outcome", "Photo", "Plan", "list_photos", "make_plan", "read",
           "run_batch", "write"]
