"""CIC: Colorful Image Colorization (Zhang, Isola, Efros, ECCV 2016)."""
