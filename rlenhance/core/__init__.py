"""What every layer uses: errors, the registry, the image convention, tiling, devices."""
