"""LRAC: Larsson, Maire and Shakhnarovich, "Learning Representations for Automatic Colorization", ECCV 2016."""
