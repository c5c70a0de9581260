"""Hydra's command line, with errors that a person can act on."""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import configs.process  # noqa: F401
from configs.overrides import compose_defaults, is_choice, quoted, readable
from configs.schema import check

FULL_TRACE = "HYDRA_FULL_ERROR"
OBJECT = re.compile(r"<(?:function |class ')?([\w.]+)[^<>]* at 0x[0-9a-f]+>")
"""Python's text for an object without a text of its own, whose address tells nobody anything."""
OF_THE_MACHINE = {
    re.compile("^MemoryError|out of memory|not enough memory|can't allocate memory", re.IGNORECASE): (
        "memory has run out; lower data.batch_size, or give its images in turns: trainer.accumulate_grad_batches=2"
    ),
    re.compile(r"DataLoader worker .*(is killed by signal|exited unexpectedly)"): (
        "a process that reads images was killed, as the system does where memory runs out; lower data.workers or "
        "data.batch_size"
    ),
}
"""Messages of torch's plain `RuntimeError`s that are no fault of the program, and advice for each."""


def command(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Run `task` on the config that `config_name` and the command line compose.

    A mistake of the user's ends the program with one sentence and status 1; `HYDRA_FULL_ERROR=1` shows the trace.
    """

    def worded(config: DictConfig) -> None:
        os.environ[FULL_TRACE] = asked_for
        try:
            with errors_as_sentences():
                require_multirun_for_launchers()
                overrides = HydraConfig.get().overrides.task
                check(as_dictionary(config, resolve=False), compose_defaults(config_name, overrides), overrides)
                task(config)
        except SystemExit as end:
            if end.code != 1 or not is_member_of_a_grid():
                raise
            raise ValueError("a run of this grid failed; python -m sweeps.status tells which, and why") from end
        finally:
            os.environ[FULL_TRACE] = "1"

    asked_for = os.environ.get(FULL_TRACE, "0")
    sys.argv[1:] = map(readable, sys.argv[1:])
    with errors_as_sentences():
        # Hydra then lets its own errors through, to be worded here.
        os.environ[FULL_TRACE] = "1"
        hydra.main(version_base="1.3", config_path="pkg://configs", config_name=config_name)(worded)()


def is_member_of_a_grid() -> bool:
    """Whether this process goes on with a grid's next run after this one."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and not launches_elsewhere()


def launches_elsewhere() -> bool:
    """Whether runs are to be started by something else than this process, such as SLURM."""
    return not HydraConfig.get().launcher._target_.endswith(".BasicLauncher")


def require_multirun_for_launchers() -> None:
    """Refuse to run here what was meant for a cluster.

    Raises:
        ValueError: So.
    """
    if launches_elsewhere() and HydraConfig.get().mode != RunMode.MULTIRUN:
        raise ValueError("hydra/launcher submits runs if -m stands at the end of the command; this would run here")


def as_dictionary(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A config as plain values."""
    plain = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn what a user's mistake raises into one line on standard error and exit status 1."""
    if os.environ.get(FULL_TRACE) == "1":
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        jobs = "; jobs that were submitted go on: python -m sweeps.status RUNS" if "submitit" in sys.modules else ""
        print(f"\nstopped by Ctrl-C; what was written is kept{jobs}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not (isinstance(error, mistakes()) or fault_of_the_machine(error)):
            raise
        print(f"error: {sentence_of(error)}\n(set {FULL_TRACE}=1 for the trace)", file=sys.stderr)
        sys.exit(1)


def fault_of_the_machine(error: BaseException) -> str | None:
    """Advice where memory has run out or a process was killed; None for other errors."""
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    advice = (advice for pattern, advice in OF_THE_MACHINE.items() if pattern.search(repr(error)))
    return next(advice, None)


def mistakes() -> tuple[type[Exception], ...]:
    """Errors that a user's mistake raises; those of Lightning, Weights & Biases and SLURM only if they are in use."""
    usual: tuple[type[Exception], ...] = (HydraException, OmegaConfBaseException, ValueError, OSError)
    if "lightning_fabric" in sys.modules:
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        usual += (MisconfigurationException,)
    if "wandb" in sys.modules:
        from wandb.errors import Error

        usual += (Error,)
    if "submitit" in sys.modules and "SLURM_STEP_ID" not in os.environ:  # this process submits
        usual += (RuntimeError,)
    return usual


def sentence_of(error: BaseException) -> str:
    """What went wrong, in words, with the nearest name where one was mistyped."""
    if advice := fault_of_the_machine(error):
        return f"{advice} ({first_line(error)})"
    if isinstance(error, MissingConfigException) and "submitit" in str(error.missing_cfg_file):
        return "hydra/launcher=slurm wants a package that is not installed: pip install 'chromalab[slurm]'"
    if type(error).__name__ == "UncompletedJobError":
        return f"{first_line(error).split(' with path')[0]} has failed; python -m sweeps.status RUNS tells why"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options)
        return f"there is no {group} called {name}{nearest(name, options)}; {group} is one of {', '.join(options)}"
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        target = re.search(r"target '?([\w.]+)", str(error))
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause or error))
        if unknown and target:
            return f"{target[1]} takes no {unknown[1]}; --help shows what the config holds"
        return sentence_of(cause) if cause else first_line(error)
    return sentence_of_override(str(error)) or first_line(error)


def sentence_of_override(said: str) -> str | None:
    """Name the fault of an override and the right one, from Hydra's own message; None if there is no fault."""
    if found := re.search(r"Could not override '([^']+)'", said):
        key = found[1].split("@")[0]
        if right := retyped(key, "+"):
            return f"{key} is added to the rest, with a +: {right}"
        return f"the config has no {key}{nearest(key, known_keys())}; add a new key with +{key}=..."
    if found := re.search(r"Key '([^']+)' is not in struct\s+full_key: (\S+)", said):
        return f"the config has no {found[2]}{nearest(found[2], known_keys())}"
    if (found := re.search(r"([\w/]+)(?:\. To override| appears more than once)", said)) and (
        right := retyped(found[1], "")
    ):
        return f"{found[1]} is chosen already; another takes its place without a +: {right}"
    if found := re.search(r"Error parsing override '([\w./+@]+)'\s+missing EQUAL", said):
        return f"{found[1]} has no value; write {found[1]}=VALUE"
    if found := re.search(r"Interpolation key '([^']+)' not found", said):
        what = f"${{{found[1]}}}"
        return f"{what} names no key{nearest(found[1], known_keys())}; for the characters themselves write \\{what}"
    groups = [argument for argument in sys.argv[1:] if is_choice(argument)]
    if groups and "Config group override must be" in said:
        return f"one of {' '.join(groups)} names no config; --help lists the names of each group"
    if found := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'\n", said):
        key, value = found[1], found[2]
        return (
            f"{key}={value} holds a comma: write {shlex.quote(quoted(key, value))} for one text, "
            f"{shlex.quote(f'{key}=[{value}]')} for a list, or put -m at the end for a run of each"
        )
    return None


def retyped(group: str, sign: str) -> str | None:
    """The command with another sign before the choice from a group; None if it chooses nothing from there."""
    chosen = [is_choice(argument) and argument.lstrip("+").startswith(f"{group}=") for argument in sys.argv[1:]]
    signed = [f"{sign}{argument.lstrip('+')}" for argument in sys.argv[1:]]
    right = [new if here else old for here, new, old in zip(chosen, signed, sys.argv[1:], strict=True)]
    return shlex.join(["python", *sys.argv[:1], *right]) if right != sys.argv[1:] else None


def nearest(name: str, names: list[str]) -> str:
    """`; did you mean X?`, if some name is close."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def first_line(error: BaseException) -> str:
    """The error's text up to the first blank line, on one line, without addresses of objects."""
    text = OBJECT.sub(r"\1", str(error)).split("\n\n")[0]
    return " ".join(text.split()) or type(error).__name__


def known_keys() -> list[str]:
    """Every dotted key of the config that the program's own command line composes without its value overrides."""
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0]  # noqa: PTH119, PTH122
    for overrides in (sys.argv[1:], []):
        try:
            return list(dotted(compose_defaults(script, overrides)))
        except (HydraException, OmegaConfBaseException):
            continue
    return []


def dotted(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of a config's keys."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")


def config_names(group: str) -> list[str]:
    """The names in a config group: `config_names("experiment")` is the catalogue of what can be reproduced."""
    names = (path.name for path in files("configs").joinpath(group).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
