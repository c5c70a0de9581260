"""What a protocol fixes: its hash, which pictures, which size, and whose name a set may bear."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from configs.command import config_names
from datamodules.splits import SHA256, keys_of
from evaluation.protocols import ScoringProtocol, definition_hash, installed
from tests.conftest import colourful_pictures

PROTOCOL = ScoringProtocol("photos", "held out", ["psnr"], samples=4)


def test_the_hash_follows_what_changes_a_score() -> None:
    assert PROTOCOL.hash == replace(PROTOCOL, description="other words").hash
    changes = [
        {"samples": 1},
        {"sampled_pictures": 5},
        {"resize": {"square": 64}},
        {"measures": ["psnr", "ssim"]},
        {"bin_width": 5.0},
        {"exclude_grey": False},
        {"luminance_source": "original"},
        {"seed": 1},
        {"guidance": "truth"},
        {"guidance": "same_class"},
        {"guidance": "hints:1"},
        {"guidance": "hints:10"},
    ]
    hashes = {replace(PROTOCOL, **change).hash for change in changes}  # type: ignore[arg-type]
    assert len(hashes | {PROTOCOL.hash}) == len(changes) + 1
    assert replace(PROTOCOL, bin_width=1).hash == PROTOCOL.hash


def test_the_command_line_can_give_hints() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        config = compose("evaluate", ["protocol=folder", "protocol.guidance=hints:10"])
    assert instantiate(config.protocol, _convert_="all").guidance == "hints:10"


def test_the_hash_can_be_computed_from_a_record() -> None:
    assert definition_hash(PROTOCOL.definition) == PROTOCOL.hash == PROTOCOL.definition["hash"]
    assert definition_hash({**PROTOCOL.definition, "seed": 7}) != PROTOCOL.hash


def test_a_choice_of_pictures_follows_their_names_alone() -> None:
    keys = [f"{number:05}" for number in range(2_000)]
    protocol = replace(PROTOCOL, sampled_pictures=100)
    chosen = {keys[place] for place in protocol.chosen(keys)}
    assert len(chosen) == 100
    assert all(any(start <= int(key) < start + 400 for key in chosen) for start in range(0, 2_000, 400))
    wanted = sorted(keys, key=lambda key: hashlib.sha256(f"0 {key}".encode()).hexdigest())[:100]
    assert chosen == set(wanted)
    without_one = [key for key in reversed(keys) if key != wanted[0]]
    assert {without_one[place] for place in protocol.chosen(without_one)} >= chosen - {wanted[0]}
    assert chosen != {keys[place] for place in replace(protocol, seed=1).chosen(keys)}
    assert PROTOCOL.chosen(keys[:3]) == [0, 1, 2]


def test_the_gallery_is_the_same_under_every_seed() -> None:
    keys = [f"{number}" for number in range(50)]
    assert PROTOCOL.gallery(keys) == replace(PROTOCOL, seed=5).gallery(keys)
    assert len(set(PROTOCOL.gallery(keys))) == 8


def test_pictures_are_brought_to_the_size_of_the_protocol() -> None:
    (rgb,) = colourful_pictures(1, 40)[:, :, :, :30]
    assert PROTOCOL.prepare(rgb) is rgb
    assert replace(PROTOCOL, resize={"square": 16}).prepare(rgb).shape == (3, 16, 16)
    by_short_side = replace(PROTOCOL, resize={"short_side": 15})
    assert by_short_side.prepare(rgb).shape == (3, 20, 15)
    assert torch.equal(by_short_side.prepare(by_short_side.prepare(rgb)), by_short_side.prepare(rgb))


def test_a_set_bears_a_name_by_its_checksum_alone() -> None:
    protocol = installed("lrac_cval1k")
    assert protocol is not None
    keys = keys_of("cval1k")
    assert protocol.grants_name(list(reversed(keys)))
    assert not protocol.grants_name(keys[1:])
    assert not protocol.grants_name([*keys, "ILSVRC2012_val_99999999"])
    assert not replace(protocol, keys_sha256=None).grants_name(keys)


@pytest.mark.parametrize("name", config_names("protocol"))
def test_an_installed_protocol_is_whole(name: str) -> None:
    protocol = installed(name)
    assert protocol is not None
    assert protocol.name == name
    assert protocol.measures
    if protocol.set in SHA256:
        assert protocol.keys_sha256 == SHA256[protocol.set]
    if name == "pic_cifar10":
        assert protocol.grants_name([f"test_{number:05}" for number in range(10_000)])


def test_mistakes_in_a_protocol_are_named() -> None:
    with pytest.raises(ValueError, match="no measure psrn"):
        replace(PROTOCOL, measures=["psrn"])
    with pytest.raises(ValueError, match="short_side: N"):
        replace(PROTOCOL, resize={"long_side": 4})
    for change in ({"samples": 0}, {"sampled_pictures": 0}, {"resize": {"square": 0}}):
        with pytest.raises(ValueError, match="should be 1 or more"):
            replace(PROTOCOL, **change)
    with pytest.raises(ValueError, match="resized or original"):
        replace(PROTOCOL, luminance_source="mine")  # type: ignore[arg-type]
    for guidance in ("reference", "", "hints", "hints:", "hints:-1", "hints:010", "hints:2.5", "truth:1", "truth\n"):
        with pytest.raises(ValueError, match=r"should be null, truth, same_class, other_class or hints:N"):
            replace(PROTOCOL, guidance=guidance)
    assert installed("nobodys") is None
