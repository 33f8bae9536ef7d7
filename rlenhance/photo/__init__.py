"""Photographs on disk: reading, writing, naming."""

from rlenhance.photo.files import EXTENSIONS, Photo, decode, encode, read, store, write
from rlenhance.photo.folders import list_photos, output_path
from rlenhance.photo.limits import PhotoWarning

__all__ = ["EXTENSIONS", "Photo", "PhotoWarning", "decode", "encode", "list_photos", "output_path", "read", "store",
           "write"]
