"""The type and range that each key of a config takes, checked before anything heavy is imported.

A key takes values of its default's type. `KINDS` says what a default alone cannot: ranges, choices and what else may
stand in the place of a null. An editor completes and checks keys by the same rules, written as a JSON schema:

    python -m configs.schema +experiment=pic_imagenet > schema.json
"""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from configs.overrides import compose_defaults, quoted

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Limit = Annotated[int, Field(ge=1, description="a whole number of at least 1 (-1: no limit)")] | Literal[-1]
FolderName = Annotated[str, Field(pattern=r"^[^./~][^/]*$", description="the name of a folder, without a slash")]
Duration = Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$", description="a time as DD:HH:MM:SS")]
Precision = Literal["64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]

KINDS: dict[str, Any] = {
    # of a run
    "name": FolderName,
    "runs": Annotated[str, Field(min_length=1)],
    "seed": Annotated[int, Field(ge=0, lt=2**32)],
    "initialize_from": str | None,
    # of pictures
    "root": str | None,
    "batch_size": Count,
    "evaluation_batch_size": Count,
    "data.workers": Whole,
    "workers": Whole | None,
    "start_method": Literal["fork", "spawn", "forkserver"] | None,
    "on_error": Literal["stop", "skip"],
    "maximum_bad_share": Share,
    "validation_fraction": Share,
    "validation_pictures": Count,
    "crops_per_epoch": Count,
    "resolution": Count,
    "short_side": Count | Annotated[list[Count], Field(min_length=2, max_length=2)],
    "minimum_colourness": NotNegative,
    "minimum_chroma_range": NotNegative,
    "cache_gigabytes": Positive,
    "reach": Whole,
    # of Lightning's trainer
    "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "devices": Count | Literal["auto", -1] | list[Whole],
    "num_nodes": Count,
    "precision": Precision,
    "max_epochs": Limit | None,
    "max_steps": Limit,
    "max_time": Duration | None,
    "val_check_interval": Count | None,
    "check_val_every_n_epoch": Count | None,
    "limit_train_batches": Count | None,
    "limit_val_batches": Whole | None,
    "limit_test_batches": Count | None,
    "num_sanity_val_steps": Annotated[int, Field(ge=-1)],
    "log_every_n_steps": Count,
    "accumulate_grad_batches": Count,
    "deterministic": bool | Literal["warn"] | None,
    # of callbacks and protocols
    "every_n_train_steps": Count | None,
    "patience": Count,
    "mode": Literal["min", "max"],
    "pictures": Count | None,
    "samples": Count | None,
    "sampled_pictures": Count | None,
    "bin_width": Positive,
    # of methods
    "width": Count,
    "fc_width": Count,
    "hidden_width": Count,
    "blocks": Count | list[Count],
    "stride": Count,
    "dilation": Count,
    "mixtures": Count,
    "classes": Count,
    "locations": Count,
    "window": Count,
    "inference_short_side": Count | None,
    "dropout": BelowOne,
    "hidden_dropout": BelowOne,
    "temperature": NotNegative,
    "learning_rate": Positive,
    "weight_decay": NotNegative,
    "momentum": BelowOne,
    "decay": Share,
    "betas": Annotated[list[BelowOne], Field(min_length=2, max_length=2)],
    "epsilon": Positive,
    "milestones": list[Whole],
}
"""Kinds of values that keys take, by the end of their dotted names; of several the longest counts."""


def check(config: Mapping[str, Any], defaults: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
    """Refuse values of a wrong type or out of range.

    Args:
        config: As composed, not resolved: interpolations and missing values are left to whoever reads them.
        defaults: The same without the values that the command line changes.
        overrides: The command line's, for the spelling that would be right.

    Raises:
        ValueError: With the keys, what they take and what was given.
    """
    typed = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    if found := list(faults(config, defaults, typed)):
        raise ValueError("; ".join(found))


def faults(
    config: Mapping[str, Any], defaults: Mapping[str, Any], typed: Mapping[str, str], prefix: str = ""
) -> Iterator[str]:
    """A sentence for each value that its key does not take."""
    for key, value in config.items():
        name, default = f"{prefix}{key}", defaults.get(key)
        inner: Mapping[str, Any] = default if isinstance(default, Mapping) else {}
        if isinstance(value, Mapping) and (isinstance(default, Mapping) or kind_of(name, default) is Any):
            yield from faults(value, inner, typed, f"{name}.")
        elif isinstance(default, Mapping):
            if value is not None:
                yield f"{name} takes keys of its own ({', '.join(inner) or 'none yet'}), not {shown(value)}"
        elif not is_open(value) and not takes(name, default, value):
            yield f"{name} takes {in_words(name, default)}, not {shown(value)}{text_hint(name, default, typed)}"
        elif isinstance(value, list):
            for place, each in enumerate(value):
                if isinstance(each, Mapping):
                    yield from faults(each, {}, typed, f"{name}[{place}].")


def kind_of(name: str, default: Any) -> Any:
    """Find the type that pydantic checks a key by: by its name, or else by its default."""
    parts = name.split(".")
    for start in range(len(parts)):
        if (end := ".".join(parts[start:])) in KINDS:
            return KINDS[end]
    if is_open(default) or default is None:
        return Any
    if isinstance(default, list):
        kinds = {type(each) for each in default}
        return list[kinds.pop()] if len(kinds) == 1 and kinds <= {bool, int, float, str} else list[Any]  # type: ignore[misc]
    return str | None if isinstance(default, str) else type(default)


def is_open(value: Any) -> bool:
    """Whether a value is an interpolation, or missing, so that it says nothing of its type."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def takes(name: str, default: Any, value: Any) -> bool:
    """Whether a key takes a value."""
    try:
        adapter(kind_of(name, default)).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Make the checker of a type."""
    return TypeAdapter(kind)


def text_hint(name: str, default: Any, typed: Mapping[str, str]) -> str:
    """How to write what was typed for a key, if it would be right as text."""
    right = name in typed and takes(name, default, typed[name])
    return f"; as text, write {shlex.quote(quoted(name, typed[name]))}" if right else ""


def shown(value: Any) -> str:
    """A value as the command line has it."""
    return value or '""' if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def in_words(name: str, default: Any) -> str:
    """Say in words what a key takes."""
    return words(adapter(kind_of(name, default)).json_schema())


def words(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows: `a whole number of at least 1`."""
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return listed([words(each) for each in schema["anyOf"] if each.get("const") != -1])
    if "enum" in schema or "const" in schema:
        return listed([str(each) for each in schema.get("enum", [schema.get("const")])])
    if schema.get("type") == "array":
        count = f" of {schema['minItems']}" if "minItems" in schema else ""
        return f"a list{count}" + (f", each {words(schema['items'])}" if schema.get("items") else "")
    return f"{NAMES.get(schema.get('type', ''), 'a value')}{span(schema)}"


def listed(choices: Sequence[str]) -> str:
    """Choices in words: `a, b or c`."""
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)


NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
}
"""Names in words of a JSON schema's types."""


def span(schema: Mapping[str, Any]) -> str:
    """The range of a JSON schema's numbers, in words."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    said = f" of at least {low:g}" if low is not None else ""
    said += f" above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else ""
    return said + (f" and below {schema['exclusiveMaximum']:,}" if "exclusiveMaximum" in schema else "")


def editor_schema(defaults: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The JSON schema by which an editor completes and checks a config's keys."""
    properties = dict[str, Any]()
    for key, default in defaults.items():
        name = f"{prefix}{key}"
        if isinstance(default, Mapping):
            properties[key] = editor_schema(default, f"{name}.")
        else:
            properties[key] = adapter(kind_of(name, default)).json_schema() | {"default": default}
    return {"type": ["object", "null"], "properties": properties}


def main() -> None:
    """Print the JSON schema of what train.py composes for the command line."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | editor_schema(
        compose_defaults("train", sys.argv[1:])
    )
    print(json.dumps(schema, indent=2))


if __name__ == "__main__":
    main()
