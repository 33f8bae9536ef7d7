"""Pictures to learn from and to be judged on: folders, sample photographs, degradations, batches."""

from rlenhance.data.batch import Batch
from rlenhance.data.camera_jpeg import CameraJpegSampler, CameraModel, as_jpeg
from rlenhance.data.celeba import open_celeba
from rlenhance.data.clean import open_clean
from rlenhance.data.completion import CompletionSampler, load_completion, open_completion, without_near_duplicates
from rlenhance.data.degradations import RELIGHT_KINDS, Darken, Degradation, Relight
from rlenhance.data.examples import Example, load_example
from rlenhance.data.folders import open_dataset
from rlenhance.data.image_cache import ImageCache
from rlenhance.data.loaded import EvalSplit, load_split
from rlenhance.data.noise import BLIND, NOISES, Noise, parse_noise
from rlenhance.data.noisy import REAL, noise_of, open_noisy
from rlenhance.data.sampler import Sampler, ShardedSampler
from rlenhance.data.samples import sample_photographs
from rlenhance.data.sidd import open_sidd, validation_blocks
from rlenhance.data.splits import Splits, check_disjoint, split_by_scene
from rlenhance.data.super_resolution import (
    Downscale,
    SuperResolutionSampler,
    check_sizes,
    load_super_resolution,
    open_super_resolution,
)
from rlenhance.data.tfrecords import TFRecordImage, records
from rlenhance.data.validate import validate_splits

__all__ = [
    "BLIND", "NOISES", "REAL", "RELIGHT_KINDS", "Batch", "CameraJpegSampler", "CameraModel", "CompletionSampler",
    "Darken", "Degradation", "Downscale", "EvalSplit", "Example", "ImageCache", "Noise", "Relight", "Sampler",
    "ShardedSampler", "Splits", "SuperResolutionSampler", "TFRecordImage", "as_jpeg", "check_disjoint", "check_sizes",
    "load_completion", "load_example", "load_split", "load_super_resolution", "noise_of", "open_celeba", "open_clean",
    "open_completion", "open_dataset", "open_noisy", "open_sidd", "open_super_resolution", "parse_noise", "records",
    "sample_photographs", "split_by_scene", "validate_splits", "validation_blocks", "without_near_duplicates",
]
