"""What is known of each model's inputs: hints for typing, help and completion, never a gate.

`catalog.json` holds facts read from public schemas, each with its source; the models drift, so an unknown model
or input passes with a warning at most.
"""

import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import hints
from cometrep.text import cut, nearest

_SLIP = 0.88  # of two names that differ by one, as `difflib` has it, at least
_RATIO = r"\d+:\d+"
_PATH = r"[^\[{\n][^\n]{,199}"  # what may be one, and is no JSON


class KnownInput(NamedTuple):
    """What public sources say of one input: its JSON kind, default, range or choices."""

    name: str
    kind: str
    about: str
    is_required: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    multiple_of: int | None = None
    max_items: int | None = None
    is_image: bool = False
    note: str = ""

    @property
    def shown_default(self) -> str:
        """The default as it is typed; `required` where there must be a value."""
        if self.is_required:
            return "required"
        if self.default is None or self.default == "":
            return "-"
        return self.default if isinstance(self.default, str) else json.dumps(self.default)

    @property
    def takes(self) -> str:
        """The range, the choices or the limit, in words."""
        if self.choices:
            return ", ".join(self.choices)
        if self.minimum is not None or self.maximum is not None:
            low = "" if self.minimum is None else f"{self.minimum:g}"
            high = "" if self.maximum is None else f"{self.maximum:g}"
            return f"{low}..{high}" + (f", multiples of {self.multiple_of}" if self.multiple_of else "")
        if self.max_items:
            return f"up to {self.max_items} pictures"
        return {"boolean": "true, false"}.get(self.kind, "a picture" if self.is_image else "-")

    def doubt(self, value: Any) -> str:
        """Say what about a value does not fit, empty where it fits."""
        shown = cut(json.dumps(value, ensure_ascii=False), 60)
        if not _is_kind(value, self.kind):
            article = "an" if self.kind in ("array", "integer") else "a"
            return f"{self.name} takes {article} {self.kind}, not {shown}"
        if self.choices and value not in self.choices:
            is_ratio = re.fullmatch(_RATIO, str(value))  # and no slip: the choice spelled like it has another shape
            near = "" if is_ratio else nearest(str(value), self.choices)
            meant = f"; did you mean {near}?" if near else ""
            return f"{self.name} is one of {', '.join(self.choices)}, not {shown}{meant}"
        if self.kind in ("integer", "number"):
            if self.minimum is not None and value < self.minimum:
                return f"{self.name} is at least {self.minimum:g}, not {shown}"
            if self.maximum is not None and value > self.maximum:
                return f"{self.name} is at most {self.maximum:g}, not {shown}"
            if self.multiple_of and value % self.multiple_of:
                return f"{self.name} is a multiple of {self.multiple_of}, not {shown}"
        if self.max_items is not None and isinstance(value, list) and len(value) > self.max_items:
            return f"{self.name} takes at most {self.max_items} values, not {len(value)}"
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (doubt := self._doubt_of_file(text)):
                return doubt
        return ""

    def _doubt_of_file(self, text: str) -> str:
        """Say where a picture is due and a text no file of one, or the other way round; empty where neither is."""
        from cometrep.data_uris import media_type_of

        media_type = media_type_of(text)
        if not self.is_image:
            is_file = media_type and self.kind == "string"
            return f"{self.name} takes text, not a file; {self.name}=@FILE gives the text of one" if is_file else ""
        if media_type:
            is_odd = not re.match(r"image/|application/octet-stream", media_type)
            return f"{self.name} takes a picture, not {media_type}" if is_odd else ""
        if text.lower().startswith(("http://", "https://", "data:")):
            return ""
        path = text.lstrip("@")
        item = f"{self.name}@{hints.quoted(path) if re.fullmatch(_PATH, path) else 'FILE'}"
        return f"{self.name} takes a picture: a URL, a data URI, or on the command line {item} for a file"


_NOTHING = KnownInput("", "string", "")


class KnownModel(NamedTuple):
    """What public sources say of one model."""

    name: str
    about: str
    makes_list: bool
    max_output_files: int | None
    inputs: Mapping[str, KnownInput]
    routed: tuple[str, ...]
    source: tuple[str, ...]

    def doubts(self, values: Mapping[str, Any]) -> list[str]:
        """List what in an input mapping the catalog does not know or expects otherwise."""
        found = []
        for name, value in values.items():
            known = self.inputs.get(name)
            if known is None:
                near = nearest(name, tuple(self.inputs))
                meant = f"; did you mean {near}?" if near else ""
                found.append(f"{self.name} has no known input {name!r}{meant}")
            elif doubt := known.doubt(value):
                found.append(doubt)
        found += [
            f"{self.name} needs {name}"
            for name, known in self.inputs.items()
            if known.is_required and name not in values
        ]
        return found

    @property
    def output(self) -> str:
        """What the model makes, in words."""
        if not self.makes_list:
            return "one picture"
        return f"up to {self.max_output_files} pictures" if self.max_output_files else "a list of pictures"

    def inputs_in_order(self) -> list[KnownInput]:
        """List the inputs, required ones first."""
        return sorted(self.inputs.values(), key=lambda known: not known.is_required)

    def example(self) -> str:
        """Give a command line that is ready to be changed and run."""
        words = ["prompt='A paper boat on calm water'"] if "prompt" in self.inputs else []
        words += [f"{name}@photo.png" for name in self.image_inputs()[:1] if self.inputs[name].is_required]
        if "16:9" in self.inputs.get("aspect_ratio", _NOTHING).choices:
            words.append("aspect_ratio=16:9")
        return f"cometrep run {self.name} {' '.join(words)}"

    def as_json(self) -> dict[str, Any]:
        """Give the object of `models --json`."""
        return {
            "schema_version": 1,
            "model": self.name,
            "about": self.about,
            "output": "list" if self.makes_list else "one",
            "max_output_files": self.max_output_files,
            "image_inputs": list(self.image_inputs()),
            "routed_by_cometapi": list(self.routed),
            "source": list(self.source),
            "inputs": {
                known.name: {
                    "type": known.kind,
                    "about": known.about,
                    "required": known.is_required,
                    "default": known.default,
                    "minimum": known.minimum,
                    "maximum": known.maximum,
                    "choices": list(known.choices) or None,
                    "multiple_of": known.multiple_of,
                    "max_items": known.max_items,
                    "image": known.is_image,
                    "note": known.note or None,
                }
                for known in self.inputs_in_order()
            },
        }

    def image_inputs(self) -> tuple[str, ...]:
        """Name the inputs that take a picture."""
        return tuple(name for name, known in self.inputs.items() if known.is_image)


def names() -> tuple[str, ...]:
    """List the names of the known models."""
    return tuple(_facts())


@lru_cache(100)  # a batch asks the same of each item, and its lines may name any model
def find(name: str) -> KnownModel | None:
    """Look a model up by its `owner/name`, or None where the catalog does not know it."""
    facts = _facts().get(name)
    if facts is None:
        return None
    return KnownModel(
        name=name,
        about=facts["about"],
        makes_list=facts["output"] == "list",
        max_output_files=facts.get("max_output_files"),
        inputs={key: _known_input(key, known) for key, known in facts["inputs"].items()},
        routed=tuple(facts["routed"]),
        source=tuple(facts["source"]),
    )


def kind_of(model: str, key: str) -> str:
    """Name the JSON kind of a model's input, empty where the catalog does not know it."""
    facts = _facts().get(model)
    return facts["inputs"].get(key, {}).get("kind", "") if facts else ""


def may_take(model: str, name: str) -> bool:
    """Say whether a model takes an input: one that the catalog does not know may take what any other does."""
    facts = _facts().get(model)
    return any(name in known["inputs"] for known in ([facts] if facts else _facts().values()))


def doubts(model: str, values: Mapping[str, Any]) -> list[str]:
    """List what is doubtful about a model and its input mapping."""
    known = find(model)
    if known:
        return known.doubts(values)
    near = nearest(model, names())
    meant = f"; did you mean {near}?" if near else ""
    return [f"the catalog does not know {model}; its inputs cannot be checked{meant}"]


def command_for(model: str) -> str:
    """Give the command that shows a model's inputs, or all models where the catalog does not know this one."""
    return f"cometrep models {model}" if model in _facts() else "cometrep models"


def closest_few(name: str) -> list[str]:
    """Give the known models nearest to a mistyped name, by the whole of it or by its last part."""
    from difflib import get_close_matches

    name = name.lower()
    by_last_part = {known.rpartition("/")[2]: known for known in names()}
    near = get_close_matches(name, names(), n=3, cutoff=0.6)
    near += [
        by_last_part[part] for part in get_close_matches(name.rpartition("/")[2], by_last_part, n=3, cutoff=0.6)
    ]
    return list(dict.fromkeys(near))[:3]


def guess(name: str) -> str:
    """Give the known model that a name without its owner means, empty where none does or several may.

    Any of several would be paid for, whichever was meant.
    """
    from difflib import SequenceMatcher

    plain = _plain(name)
    alike = [known for known in names() if plain in _plain(known)]
    exact = [known for known in alike if plain == _plain(known)]
    if exact or len(alike) == 1:
        return (exact or alike)[0]
    # A slip of the keyboard, and not in a version: each is a model of its own.
    nearness = {
        known: SequenceMatcher(None, plain, _plain(known)).ratio()
        for known in names()
        if _versions(name) == _versions(known)
    }
    near = [known for known, ratio in nearness.items() if ratio >= max(_SLIP, *nearness.values())]
    return near[0] if len(near) == 1 else ""


def _versions(name: str) -> list[str]:
    return re.findall(r"\d[\da-z]*", name.rpartition("/")[2].lower().replace(".", ""))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.rpartition("/")[2].partition(":")[0].lower())


@cache
def _facts() -> Mapping[str, Any]:
    facts: Mapping[str, Any] = json.loads(Path(__file__).with_name("catalog.json").read_bytes())["models"]
    return facts


def _known_input(name: str, facts: Mapping[str, Any]) -> KnownInput:
    return KnownInput(name, **{**facts, "choices": tuple(facts.get("choices", ()))})


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, {"boolean": bool, "array": list, "string": str}.get(kind, object))
