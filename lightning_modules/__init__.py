"""The colourisation methods, one folder a paper, and the contract that they share."""

import os

# Before torch is imported: OpenMP's threads would spin while they wait, and slow down whatever else is at work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

METHODS: dict[str, str] = {
    "CIC": "lightning_modules.cic.module",
    "Exemplar": "lightning_modules.exemplar.module",
    "LRAC": "lightning_modules.lrac.module",
    "PIC": "lightning_modules.pic.module",
    "PICEmbedding": "lightning_modules.pic.embedding_only",
    "PixColor": "lightning_modules.pixcolor.module",
    "SIGGRAPH17": "lightning_modules.siggraph17.module",
    "Welsh": "lightning_modules.welsh.module",
}
"""Where each method's class lives: the name that a checkpoint stores, and the module to import for it."""

TASKS: dict[str, str] = {
    "GreySegmentation": "lightning_modules.pixcolor.segmentation",
    "GreyClassification": "lightning_modules.lrac.classification",
    "Segmentation": "lightning_modules.lrac.segmentation",
    "VGG19Classification": "lightning_modules.exemplar.classification",
}
"""The same of what else is trained: what a method learns before colouring, and what is learned upon a method."""
