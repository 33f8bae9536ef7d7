"""Pictures to learn from and to be judged on: folders, sample photographs, degradations, batches."""

from rlenhance.data.batch import Batch
from rlenhance.data.camera_jpeg import Camera, CodedSampler, as_jpeg
from rlenhance.data.celeba import open_celeba
from rlenhance.data.clean import clean_folder
from rlenhance.data.completion import OccludedSampler, load_occluded, occluded_pictures, without_near_duplicates
from rlenhance.data.degradations import RELIT, Darken, Degradation, Relight
from rlenhance.data.examples import Example, load_example
from rlenhance.data.folders import open_folder
from rlenhance.data.image_cache import PictureCache
from rlenhance.data.loaded import LoadedSplit, load_split
from rlenhance.data.noise import BLIND, NOISES, Noise, parse_noise
from rlenhance.data.noisy import REAL, noise_of, noisy_pictures
from rlenhance.data.sampler import PortionSampler, Sampler
from rlenhance.data.samples import sample_photographs
from rlenhance.data.sidd import open_sidd, validation_blocks
from rlenhance.data.splits import Splits, check_disjoint, split_by_scene
from rlenhance.data.super_resolution import ReducedSampler, Shrink, check_sizes, load_reduced, open_pairs
from rlenhance.data.tfrecords import Record, records
from rlenhance.data.validate import scan

__all__ = [
    "BLIND", "NOISES", "REAL", "RELIT", "Batch", "Camera", "CodedSampler", "Darken", "Degradation", "Example",
    "LoadedSplit", "Noise", "OccludedSampler", "PictureCache", "PortionSampler", "Record", "ReducedSampler", "Relight",
    "Sampler", "Shrink", "Splits", "as_jpeg", "check_disjoint", "check_sizes", "clean_folder", "load_example",
    "load_occluded", "load_reduced", "load_split", "noise_of", "noisy_pictures", "occluded_pictures", "open_celeba",
    "open_folder", "open_pairs", "open_sidd", "parse_noise", "records", "sample_photographs", "scan", "split_by_scene",
    "validation_blocks", "without_near_duplicates",
]
