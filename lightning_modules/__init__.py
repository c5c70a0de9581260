"""The colourisation methods, one folder a paper, and the contract that they share."""

METHODS: dict[str, str] = {
    "LRAC": "lightning_modules.lrac.module",
    "PIC": "lightning_modules.pic.module",
    "PICEmbedding": "lightning_modules.pic.embedding_only",
}
"""Where each method's class lives: the name that a checkpoint stores, and the module to import for it."""
