"""Operations on pictures and masks: filters, patches, inpainting, noise estimation, image statistics."""
