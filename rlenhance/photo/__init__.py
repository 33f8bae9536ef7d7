"""Photographs on disk: reading, writing, naming."""

from rlenhance.photo.files import EXTENSIONS, Photo, read, write
from rlenhance.photo.folders import list_photos, output_path

__all__ = ["EXTENSIONS", "Photo", "list_photos", "output_path", "read", "write"]
