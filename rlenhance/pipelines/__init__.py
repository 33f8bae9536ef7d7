"""What a user runs over a photograph: enhance, denoise, complete, upscale."""
