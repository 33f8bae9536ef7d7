"""What every layer uses: errors, the registry, the image convention, tiling, devices, the version."""

__version__ = "0.2.0"
