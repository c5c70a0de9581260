"""PixColor: Guadarrama et al., "PixColor: Pixel Recursive Colorization", BMVC 2017."""
