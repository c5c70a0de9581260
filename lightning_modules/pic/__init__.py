"""PIC: Royer, Kolesnikov and Lampert, "Probabilistic Image Colorization", BMVC 2017."""
