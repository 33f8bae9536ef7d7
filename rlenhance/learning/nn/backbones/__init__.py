"""Feature extractors: (N, C, H, W) -> (N, width, h, w), registered by name."""

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.learning.nn.backbones.compact import Compact
from rlenhance.learning.nn.backbones.fcn import FCN
from rlenhance.learning.nn.backbones.gated_pixelrnn import ConvLSTMAutoencoder, GatedPixelRNN, receptive_field
from rlenhance.learning.nn.backbones.gru_fcn import GruFCN
from rlenhance.learning.nn.backbones.gru_unet import GruUNet
from rlenhance.learning.nn.backbones.mrpnet import MRPNet
from rlenhance.learning.nn.backbones.pixelrnn import PixelRNN
from rlenhance.learning.nn.backbones.pyramid import Pyramid
from rlenhance.learning.nn.backbones.recurrent import ConvGRUCell, RecurrentBackbone

__all__ = [
    "BACKBONES", "FCN", "Backbone", "Compact", "ConvGRUCell", "ConvLSTMAutoencoder", "FiLM", "GatedPixelRNN", "GruFCN",
    "GruUNet", "MRPNet", "PixelRNN", "Pyramid", "RecurrentBackbone", "receptive_field",
]
