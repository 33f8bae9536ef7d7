"""Operations on tensors of pictures."""
