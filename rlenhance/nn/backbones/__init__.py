"""Feature extractors: (N, C, H, W) -> (N, width, h, w), registered by name."""

from rlenhance.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.nn.backbones.compact import Compact
from rlenhance.nn.backbones.fcn import FCN
from rlenhance.nn.backbones.gated_pixelrnn import ConvLSTMAutoencoder, GatedPixelRNN, receptive_field
from rlenhance.nn.backbones.gru_fcn import GruFCN
from rlenhance.nn.backbones.gru_unet import GruUNet
from rlenhance.nn.backbones.mrpnet import MRPNet
from rlenhance.nn.backbones.pixelrnn import PixelRNN
from rlenhance.nn.backbones.pyramid import Pyramid
from rlenhance.nn.backbones.recurrent import ConvGRUCell, RecurrentBackbone

__all__ = [
    "BACKBONES", "FCN", "Backbone", "Compact", "ConvGRUCell", "ConvLSTMAutoencoder", "FiLM", "GatedPixelRNN", "GruFCN",
    "GruUNet", "MRPNet", "PixelRNN", "Pyramid", "RecurrentBackbone", "receptive_field",
]
