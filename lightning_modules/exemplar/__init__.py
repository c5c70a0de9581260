"""Exemplar: Xu et al., "Stylization-Based Architecture for Fast Deep Exemplar Colorization", CVPR 2020."""
