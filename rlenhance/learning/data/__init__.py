"""Data sets and samplers: folders, sample photographs, degradations, batches."""

from rlenhance.learning.data.batch import Batch, BatchSource
from rlenhance.learning.data.camera_jpeg import CameraJpegSampler, CameraModel
from rlenhance.learning.data.celeba import open_celeba
from rlenhance.learning.data.completion import CompletionSampler, load_completion, open_completion
from rlenhance.learning.data.datasets import REAL, noise_from, open_clean, open_dataset, open_noisy, sample_photographs
from rlenhance.learning.data.degradations import (
    BLIND,
    NOISES,
    RELIGHT_KINDS,
    Darken,
    Degradation,
    Noise,
    Relight,
    parse_noise,
)
from rlenhance.learning.data.examples import EvalSplit, Example, evenly_spread, load_example, load_split
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.mixed_damage import DAMAGES, LEVELS, MixedDamage, damage
from rlenhance.learning.data.mixed_noise import MixedNoise
from rlenhance.learning.data.near_duplicates import without_near_duplicates
from rlenhance.learning.data.sampler import Sampler, ShardedSampler
from rlenhance.learning.data.shards import ParquetImage, TarImage, read_shard
from rlenhance.learning.data.sidd import open_sidd, validation_blocks
from rlenhance.learning.data.simulated_camera import CameraSettings, SimulatedCamera, as_jpeg
from rlenhance.learning.data.splits import Splits, check_disjoint, join_splits, split_by_scene, validate_splits
from rlenhance.learning.data.super_resolution import (
    Downscale,
    SuperResolutionSampler,
    load_super_resolution,
    open_super_resolution,
)
from rlenhance.learning.data.synthetic_noise import NoisySampler, SyntheticNoise
from rlenhance.learning.data.tfrecords import TFRecordImage, records

__all__ = [
    "BLIND", "DAMAGES", "LEVELS", "NOISES", "REAL", "RELIGHT_KINDS", "Batch", "BatchSource", "CameraJpegSampler",
    "CameraModel", "CameraSettings", "CompletionSampler", "Darken", "Degradation", "Downscale", "EvalSplit",
    "Example", "ImageCache", "MixedDamage", "MixedNoise", "Noise", "NoisySampler", "ParquetImage", "Relight", "Sampler",
    "ShardedSampler", "SimulatedCamera", "Splits", "SuperResolutionSampler", "SyntheticNoise", "TFRecordImage",
    "TarImage", "as_jpeg", "check_disjoint", "damage", "evenly_spread", "join_splits", "load_completion",
    "load_example", "load_split", "load_super_resolution", "noise_from", "open_celeba", "open_clean",
    "open_completion", "open_dataset", "open_noisy", "open_sidd", "open_super_resolution", "parse_noise",
    "read_shard", "records", "sample_photographs", "split_by_scene", "validate_splits", "validation_blocks",
    "without_near_duplicates",
]
