"""Feature extractors: (N, C, H, W) -> (N, width, h, w), registered by name."""

from rlenhance.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.backbones.compact import Compact
from rlenhance.backbones.fcn import FCN
from rlenhance.backbones.gated import ConvLSTMAutoencoder, GatedPixelRNN, receptive_field
from rlenhance.backbones.gru_fcn import GruFCN
from rlenhance.backbones.gru_unet import GruUNet
from rlenhance.backbones.memory import ConvGRUCell, Remembering
from rlenhance.backbones.mrpnet import MRPNet
from rlenhance.backbones.pixelrnn import PixelRNN
from rlenhance.backbones.pyramid import Pyramid

__all__ = [
    "BACKBONES", "FCN", "Backbone", "Compact", "ConvGRUCell", "ConvLSTMAutoencoder", "FiLM", "GatedPixelRNN", "GruFCN",
    "GruUNet", "MRPNet", "PixelRNN", "Pyramid", "Remembering", "receptive_field",
]
