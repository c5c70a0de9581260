"""The table of all weights that this project can load by name: where they are, how they are checked, what they do."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

TORCHVISION = "https://download.pytorch.org/models"
ZHANG = "https://colorizers.s3.us-east-2.amazonaws.com"
ZHANG_MIRROR = "https://github.com/clibdev/colorization/releases/latest/download"


@dataclass(frozen=True)
class Model:
    """Weights with a name.

    Attributes:
        name: What users write.
        kind: `bundled` colourisers lie in this package, `published` ones and `network`s are fetched on first use.
        file: The file's name.
        addresses: Where the file is published; tried in turn.
        sha256: Its SHA-256 in hexadecimal, or the first digits where its publisher gives no more.
        size: In bytes; rounded for files whose publisher rounds it.
        licence: Of the weights, an SPDX identifier; the images that they were trained on have terms of their own.
        used_for: A few words for a list.
        method: The class of the colouriser; None for other networks.
        loader: `module:function` that makes the colouriser from the published state dict; None for bundles, which
            rebuild themselves.
        accepts: The kinds of guidance that the colouriser takes: fields of `Guidance`.
        samples: Whether two of its colourings of one image differ.
        settings: Hyper-parameters that differ from those in the file: several models may share one.
    """

    name: str
    kind: Literal["bundled", "published", "network"]
    file: str
    addresses: tuple[str, ...]
    sha256: str
    size: int
    licence: str
    used_for: str
    method: str | None = None
    loader: str | None = None
    accepts: frozenset[str] = frozenset()
    samples: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_sha256(self) -> str:
        """The SHA-256 as messages write it: dots follow where only the first digits are known."""
        return self.sha256 if len(self.sha256) == 64 else f"{self.sha256}..."


COMPACT = Model(
    name="cic-compact",
    kind="bundled",
    file="cic-compact.safetensors",
    addresses=(),
    sha256="14ca0e2b3b18d854ed77e9b7d8aa3371096e1ad9fb2d7c6f9555ee84b9687911",
    size=7_643_645,
    licence="MIT",
    used_for="colouring",
    method="CIC",
)
BUNDLED: tuple[Model, ...] = (
    COMPACT,
    replace(
        COMPACT,
        name="cic-varied",
        used_for="colouring in several ways",
        samples=True,
        settings={"variety": 0.15},
    ),
)
"""Colourisers that this project trained; of several that would do, `default_for` takes the first."""

PUBLISHED = (
    Model(
        name="cic",
        kind="published",
        file="colorization_release_v2-9b330a0b.pth",
        addresses=(
            f"{ZHANG}/colorization_release_v2-9b330a0b.pth",
            f"{ZHANG_MIRROR}/colorization-eccv-16.pth",
            f"{ZHANG_MIRROR}/colorization_release_v2-9b330a0b.pth",
        ),
        sha256="9b330a0bae53f4ded77b1e23defbf78beaa09c10ebc4c4999e8e4f4a160b93f9",
        size=129_000_000,
        licence="BSD-2-Clause",
        used_for="colouring; starts Exemplar",
        method="CIC",
        loader="lightning_modules.cic.published:from_published",
    ),
    Model(
        name="siggraph17",
        kind="published",
        file="siggraph17-df00044c.pth",
        addresses=(
            f"{ZHANG}/siggraph17-df00044c.pth",
            f"{ZHANG_MIRROR}/colorization-siggraph-17.pth",
            f"{ZHANG_MIRROR}/siggraph17-df00044c.pth",
        ),
        sha256="df00044c0a4d7c3edcecf6f75437ce346a66e7a42612d9b968e1a7e17dbc6f66",
        size=136_787_426,
        licence="BSD-2-Clause",
        used_for="colouring by hints; starts Exemplar",
        method="SIGGRAPH17",
        loader="lightning_modules.siggraph17.published:from_published",
        accepts=frozenset({"hints"}),
    ),
)

NETWORKS = (
    Model(
        name="vgg16",
        kind="network",
        file="vgg16-397923af.pth",
        addresses=(f"{TORCHVISION}/vgg16-397923af.pth",),
        sha256="397923af",
        size=553_433_000,
        licence="BSD-3-Clause",
        used_for="starts LRAC; LPIPS; top-1 and top-5",
    ),
    Model(
        name="vgg19",
        kind="network",
        file="vgg19-dcbb9e9d.pth",
        addresses=(f"{TORCHVISION}/vgg19-dcbb9e9d.pth",),
        sha256="dcbb9e9d",
        size=574_673_000,
        licence="BSD-3-Clause",
        used_for="starts Exemplar's transfer",
    ),
    Model(
        name="resnet101",
        kind="network",
        file="resnet101-cd907fc2.pth",
        addresses=(f"{TORCHVISION}/resnet101-cd907fc2.pth",),
        sha256="cd907fc2",
        size=178_814_000,
        licence="BSD-3-Clause",
        used_for="starts PixColor",
    ),
    Model(
        name="deeplab",
        kind="network",
        file="deeplabv3_resnet101_coco-586e9e4e.pth",
        addresses=(f"{TORCHVISION}/deeplabv3_resnet101_coco-586e9e4e.pth",),
        sha256="586e9e4e",
        size=244_546_000,
        licence="BSD-3-Clause",
        used_for="starts PixColor, as its paper does",
    ),
    Model(
        name="alexnet",
        kind="network",
        file="alexnet-owt-7be5be79.pth",
        addresses=(f"{TORCHVISION}/alexnet-owt-7be5be79.pth",),
        sha256="7be5be79",
        size=244_409_000,
        licence="BSD-3-Clause",
        used_for="LPIPS",
    ),
    Model(
        name="fid_inception",
        kind="network",
        file="pt_inception-2015-12-05-6726825d.pth",
        addresses=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        sha256="6726825d",
        size=95_600_000,
        licence="Apache-2.0",
        used_for="Frechet Inception distance",
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in (*BUNDLED, *PUBLISHED, *NETWORKS)}
"""All of them, by name."""
