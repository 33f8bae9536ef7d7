"""Reading text in pictures: engines behind one protocol, filters before them, and what a reading is worth.

Nothing here imports torch.
"""
