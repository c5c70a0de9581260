"""Each measure as a pure function of pictures: RGB in [0, 1], (B, 3, H, W), to one value a picture, (B,)."""
