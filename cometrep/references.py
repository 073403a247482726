"""How people name a model and a prediction: read what was typed for one."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from cometrep import errors
from cometrep.hiding import KEY_PATTERN, masked
from cometrep.text import cut

ID_PATTERN = r"[A-Za-z0-9_-]{1,200}"
"""The ids cometrep accepts (cometapi-dev/cometapi-connect: sd_webui_cometapi.py uses the same)."""

_MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_EXAMPLE = "OWNER/NAME"  # in hints, for what is to be put there
_NO_OWNER = "p|replicate|docs|collections|account|blog|explore|pricing|predictions|trainings|deployments|playground"
# Its page at Replicate and at CometAPI, and its address in an API.
_MODEL_ADDRESS = (
    rf"(?i)(?:(?:^|//|www\.)replicate\.com|/models(?:/replicate)?)/(?!(?:{_NO_OWNER})/)({_MODEL})(?=[/:?#]|$)"
)
_MODEL_VERSION = rf"({_MODEL})(?:(?::|/versions/)[\w.-]+)?/?\n?"
_BACK = r"@(\d{1,6})"


def parse_model(text: str, guess: Callable[[str], str] = lambda text: "") -> str:
    """Check that a model is named `owner/name` and return it; raise UsageError that shows the form.

    `guess` gives the known model that a text means which has no such name in it, empty where it is not plain.
    """
    if text == _EXAMPLE:
        raise errors.UsageError(
            f"{text} stands for a model's name, which is to be put there", hint="cometrep models", code="bad_model"
        )
    if re.fullmatch(_MODEL, text):
        return text
    found = re.search(_MODEL_ADDRESS, text[:500]) or re.fullmatch(_MODEL_VERSION, text)
    named = found.group(1) if found else ""
    why = "is not a model, which is named OWNER/NAME"
    if re.match(r"\w+(?::?=|@)", text):
        meant, why = "", "is an input; the model, as OWNER/NAME, goes before it"
    elif named:
        meant, why = named, f"{why}, without a version or an address"
    else:
        meant = guess(text[:200])
    raise errors.UsageError(
        f"{masked(text)!r} {why}", hint=f"name it as {meant}" if meant else "cometrep models", code="bad_model"
    )


class Reference(NamedTuple):
    """What a user typed for a prediction: its id, or how many predictions back (1 is the last)."""

    id: str = ""
    back: int = 0


def parse_reference(text: str) -> Reference:
    """Read an id, a URL that ends in one, `@last` or `@N`; raise UsageError for anything else."""
    if text == "@last":
        return Reference(back=1)
    if (found := re.fullmatch(_BACK, text)) and int(found.group(1)) > 0:
        return Reference(back=int(found.group(1)))
    if text.lower().startswith(("http://", "https://")):
        try:
            parts = urlsplit(text).path.rstrip("/").split("/")
        except ValueError:
            parts = []
        if len(parts) > 1 and parts[-2] in ("p", "predictions") and _is_id(parts[-1]):
            return Reference(id=parts[-1])
    elif _is_id(text):
        return Reference(id=text)
    shown = cut(masked(text), 500)
    raise errors.UsageError(
        f"{shown!r} is not a prediction id, a URL that ends in /p/ID or /predictions/ID, @last or @2",
        hint="cometrep list",
        code="bad_id",
    )


def _is_id(text: str) -> bool:
    """Say whether a text is an id; an API key that was pasted for one would stand in a URL, and in messages."""
    return bool(re.fullmatch(ID_PATTERN, text)) and not re.fullmatch(KEY_PATTERN, text)
