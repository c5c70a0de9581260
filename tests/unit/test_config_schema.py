"""Types and ranges of config values, and overrides of any spelling."""

import shlex
import subprocess
import sys
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from configs.command import command, config_names, fault_of_the_machine, first_line, sentence_of_override
from configs.overrides import compose_defaults, is_choice, readable
from configs.schema import check, editor_schema, words
from tests.conftest import PROJECT


def checked(*arguments: str) -> None:
    """Compose what train.py would for a command line, and check it."""
    overrides = [readable(argument) for argument in arguments]
    with initialize_config_module("configs", version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides))
    check(config, compose_defaults("train", overrides), overrides)


@pytest.mark.parametrize("experiment", config_names("experiment"))
def test_experiments_are_of_their_own_schema(experiment: str) -> None:
    checked(f"+experiment={experiment}")
    checked(f"+experiment={experiment}", "+debug=fast")


@pytest.mark.parametrize(
    ("override", "allowed", "given"),
    [
        ("data.batch_size=0", "a whole number of at least 1", "0"),
        ("data.batch_size=-3", "a whole number of at least 1", "-3"),
        ("data.batch_size=1.5", "a whole number of at least 1", "1.5"),
        ("data.batch_size=true", "a whole number of at least 1", "true"),
        ("data.seed=x", "a whole number of at least 0", "x"),
        ("seed=x", "a whole number of at least 0 and below 4,294,967,296", "x"),
        ("seed=5000000000", "a whole number", "5000000000"),
        ("model.width=abc", "a whole number of at least 1", "abc"),
        ("model.temperature=-1", "a number of at least 0", "-1"),
        ("model.temperature=nan", "a number of at least 0", "NaN"),
        ("model.dropout=1", "a number of at least 0 and below 1", "1"),
        ("model.optimization.learning_rate=0", "a number above 0", "0"),
        ("model.optimization.betas=[0.9]", "a list of 2", "[0.9]"),
        ("model.optimization=3", "keys of its own (learning_rate, ", "3"),
        ("trainer.max_epochs=abc", "a whole number of at least 1 (-1: no limit) or null", "abc"),
        ("trainer.max_epochs=0", "a whole number of at least 1", "0"),
        ("trainer.max_time=30min", "a time as DD:HH:MM:SS or null", "30min"),
        ("trainer.accelerator=gpuu", "auto, cpu, gpu, cuda, mps or tpu", "gpuu"),
        ("data.validation_fraction=2", "a number from 0 to 1", "2"),
        ("compile=maybe", "true or false", "maybe"),
        ("name=../elsewhere", "the name of a folder", "../elsewhere"),
        ("protocol.measures=psnr", "a list", "psnr"),
        ("model.embedding=[{width:8", "a list", "[{width:8"),
    ],
)
def test_wrong_values_are_told_with_key_and_what_is_allowed(override: str, allowed: str, given: str) -> None:
    with pytest.raises(ValueError, match="takes") as error:
        checked(override)
    assert str(error.value).startswith(f"{override.split('=')[0]} takes {allowed}")
    assert f"not {given}" in str(error.value)


def test_mappings_in_lists_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"^model\.embedding\[1\]\.width takes a whole number of at least 1, not abc$"):
        checked("model.embedding=[{width:8},{width:abc}]")


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.max_epochs=-1", "trainer.max_time=00:00:30:00", "model.temperature=0", "data.root=null"],
        ["trainer.devices=auto", "trainer.deterministic=warn", "callbacks.averaging=null", "~callbacks.progress"],
        ["model.optimization.learning_rate=1", "+trainer.gradient_clip_val=1", "model.resolution=${data.batch_size}"],
        ["+experiment=lrac_imagenet", "data.transform.short_side=256", "model.pretrained=null"],
        ["+experiment=pixcolor_imagenet", "data.minimum_colourness=0.1", "model.pretrained=download"],
    ],
)
def test_right_values_pass(overrides: list[str]) -> None:
    checked(*overrides)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^seed takes .*; data\.workers takes ") as error:
        checked("data.workers=-1", "seed=-1")
    assert len(str(error.value).split("; ")) == 2, "data.seed only repeats seed"


@pytest.mark.parametrize("typed", ["2017", "1e5", "true", "[old]", "{a: 1}"])
def test_text_that_looks_like_something_else_is_answered_with_the_spelling_that_works(typed: str) -> None:
    with pytest.raises(ValueError, match=r"data\.root takes text") as error:
        checked(f"data.root={typed}")
    (right,) = shlex.split(str(error.value).partition("as text, write ")[2])
    checked(right)
    assert OverridesParser.create().parse_override(right).value() == typed


PATHS = (
    *("runs/epoch=3-step=100.ckpt", "Größe/x", "x (1)", "runs/[old]/x", "50%/x", "x#2", "a&b", "it's", 'a "b"', "a; b"),
    *("{2019}/x", "f(x)", " x", "x ", "a\\", "a\\'b", "both ' and \"", "ключ/写真.png"),
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_of_any_spelling_are_read_as_they_are(path: str) -> None:
    override = OverridesParser.create().parse_override(readable(f"data.root={path}"))
    assert (override.key_or_group, override.value()) == ("data.root", path)


@pytest.mark.parametrize(
    "argument",
    ["seed=1,2", "model.embedding=[{width: 8}]", "+experiment=pic_tiny", "~callbacks.progress", "-m", "a=", "x=${y}"],
)
def test_what_hydra_reads_stays_as_it_is(argument: str) -> None:
    assert readable(argument) == argument


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert readable("runs=~/runs") == "runs=/home/somebody/runs"


def test_choices_are_told_from_values() -> None:
    assert all(map(is_choice, ("data=cifar10", "+experiment=pic_tiny", "data/transform=pic")))
    assert not any(map(is_choice, ("seed=1", "data.root=data", "name=data", "~callbacks.progress", "--help")))


@pytest.mark.parametrize(
    ("arguments", "said", "right"),
    [
        (["experiment=pic_tiny", "seed=1"], "Could not override 'experiment@_global_'.", "+experiment=pic_tiny seed=1"),
        (["+trainer=ddp"], "trainer appears more than once in the final defaults list", "trainer=ddp"),
        (["+data=cifar10"], "In 'train': Multiple values for data. To override", "data=cifar10"),
    ],
)
def test_a_sign_too_much_or_too_little_is_answered_with_the_command(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str, right: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    assert f"python train.py {right}" in str(sentence_of_override(said))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("data.batch_size", "data.batch_size has no value; write data.batch_size=VALUE"),
        (
            "data.batch_size=${sed}",
            "${sed} names no key; did you mean seed?; for the characters themselves write \\${sed}",
        ),
        ("data.root=a,b", "write 'data.root=\"a,b\"' for one text, 'data.root=[a,b]' for a list"),
        ("model=3", "model=3 names no config"),
    ],
)
def test_what_hydra_refuses_is_told_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, argument: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which it changes
    with pytest.raises(SystemExit):
        command("train", lambda config: None)
    assert words in capsys.readouterr().err


def test_a_refusal_comes_before_heavy_imports() -> None:
    code = "import sys, train\n"
    code += "try: train.main()\nexcept SystemExit: print({'torch', 'pytorch_lightning'} & set(sys.modules))"
    command = [sys.executable, "-c", code, "model.width=abc"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
    assert result.stderr.startswith("error: model.width takes a whole number of at least 1, not abc\n")


def test_addresses_of_objects_are_left_out() -> None:
    error = ValueError(f"no measure of {object()} by {print} or {checked}")
    assert "0x" not in first_line(error)
    assert "object" in first_line(error)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MemoryError(), "lower data.batch_size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), "lower data.batch_size"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] can't allocate memory"), "lower data.batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "lower data.workers"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "lower data.workers"),
        (RuntimeError("shapes do not match"), None),
        (OSError("out of memory"), None),
    ],
)
def test_faults_of_the_machine_are_told_from_others(error: Exception, advice: str | None) -> None:
    told = fault_of_the_machine(error)
    assert (told is None) if advice is None else (advice in str(told))


def test_an_editor_gets_every_key_with_its_range() -> None:
    schema = editor_schema(compose_defaults("train", []))
    assert schema["properties"]["data"]["properties"]["batch_size"] == {"type": "integer", "minimum": 1, "default": 16}
    assert schema["properties"]["trainer"]["properties"]["max_steps"]["default"] == -1


def test_types_in_words() -> None:
    assert words(TypeAdapter(list[float] | None).json_schema()) == "a list, each a number or null"
