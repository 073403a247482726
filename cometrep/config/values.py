"""What the text of a setting means: durations, sizes, switches, base URLs, folders, templates and the API key.

Each function gives a value, or raises ValueError, or UsageError in its own words, for a text that is none.
"""

import os
import re
from urllib.parse import urlsplit

from cometrep.hiding import KEY_PATTERN

PROGRESS_MODES = ("auto", "bar", "lines", "json", "none")
LONGEST_KEY = 4096  # CometAPI's have some fifty, and servers take no headers that are much longer
UNUSUAL_KEY = "CometAPI's keys begin with sk-, then at least 8 letters, digits, - or _; this one does not"
_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = r"\d{1,7}(?:\.\d{1,3})?|\.\d{1,3}"
_DURATION = rf"(?a)(?P<alone>{_SECONDS})|(?:(?P<h>\d{{1,5}})h)?(?:(?P<m>\d{{1,6}})m)?(?:(?P<s>{_SECONDS})s)?"


class ApiKey:
    """The credential; only `reveal` gives it away, so that no repr, log or traceback does."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the key itself, for the Authorization header and for storing it."""
        return self._text

    @property
    def to_hide(self) -> str:
        """What is to be hidden where a server repeats it; a key of a few letters stands in half of all words."""
        return self._text if len(self._text) >= 8 else ""

    @property
    def is_usual(self) -> bool:
        """Whether it has the form of CometAPI's keys; one of another form is sent all the same."""
        return re.fullmatch(KEY_PATTERN, self._text) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"ApiKey({self})"

    def __str__(self) -> str:
        return f"…{self._text[-4:]}" if len(self._text) > 8 else "…"


def parse_duration(text: str) -> float:
    """Read `90`, `90s`, `10m`, `1h30m` as seconds; raise ValueError for anything else."""
    found = re.fullmatch(_DURATION, text.strip())
    if not found and re.fullmatch(_DURATION, re.sub(r"(?a)\d+", "1", text.strip())):
        raise ValueError("has too many digits for a duration")
    if not found or not found.group():
        raise ValueError("is not a duration like 90, 90s, 10m or 1h30m")
    return int(found["h"] or 0) * 3600 + int(found["m"] or 0) * 60 + float(found["s"] or found["alone"] or 0)


def parse_size(text: str) -> int:
    """Read `500k`, `1.5M`, `2GiB` as whole bytes; raise ValueError for anything else."""
    found = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,3}))?\s*(|[kmgt]i?)b?", text.strip().lower(), re.ASCII)
    thousandths = int(found.group(1) + (found.group(2) or "").ljust(3, "0")) if found else 0
    size = thousandths * _SIZE_UNITS[found.group(3)] // 1000 if found else 0
    if size == 0:
        raise ValueError("is not a size like 500k, 1.5M or 2GiB")
    return size


def parse_switch(text: str) -> bool:
    """Read 1, true, yes, on or their opposites; raise ValueError for anything else."""
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("is neither true nor false")
    return word in ("1", "true", "yes", "on")


def parse_base_url(text: str) -> str:
    """Check a base URL and bring it to its plain form; raise ValueError that says what is wrong.

    A trailing `/v1` is dropped: the provider's Python SDK has it in its own variable
    (cometapi-dev/cometapi-python: src/cometapi/_config.py).
    """
    text = _text(text).strip().rstrip("/")
    text = text.removesuffix("/v1").removesuffix("/replicate").rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # whose words repeat what may be a part of a password
        raise ValueError("is not a URL, or its port is no number from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not a URL like https://api.cometapi.com")
    if parts.netloc.endswith(":"):  # as of a variable that is not set
        raise ValueError("has a colon behind its host, and no port")
    if "@" in parts.netloc or "?" in text or "#" in text or port == 0:
        raise ValueError("is no base URL, which has a host and a path, but no user, query or fragment")
    labels = parts.hostname.rstrip(".").split(".")
    if ":" not in parts.hostname and not all(0 < len(label) < 64 for label in labels):
        raise ValueError("has a host with a part that is empty or longer than 63 characters")
    if re.search(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]", text):
        raise ValueError("has characters that no URL has")
    if parts.scheme == "http" and not is_local_host(parts.hostname):
        raise ValueError("is plain http, which is for this machine only; write https")
    return text


def is_local_host(host: str) -> bool:
    """Say whether a host name or address is this machine's own loopback.

    Of names only `localhost`: what stands before it in another is for a name server to answer, truly or not.
    """
    import ipaddress

    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local_url(url: str) -> bool:
    """Say whether a URL's host is this machine's own loopback."""
    return is_local_host(urlsplit(url).hostname or "")


def parse_api_key(text: str) -> str:
    """Trim white space and a BOM from a key; raise ValueError for what no header carries, or plainly is no key."""
    key = text.strip().removeprefix("\ufeff").strip()
    if re.match(r"(?:export\s+)?(?:[A-Z][A-Z0-9_]*=[^=]|\w+=[\"']?sk-)", key):
        raise ValueError("begins with a name; the key is what stands behind the =, without quotes")
    if key[:1] in ("'", '"') or key[-1:] in ("'", '"'):
        raise ValueError("has quotes around it")
    if re.search(r"[\r\n]", key):
        raise ValueError("has a line break inside")
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise ValueError("has spaces or characters outside ASCII inside")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"has more than {LONGEST_KEY} characters, and no key has")
    return key


def parse_progress(text: str) -> str:
    """Read a word of PROGRESS_MODES; raise ValueError for anything else."""
    if text not in PROGRESS_MODES:
        raise ValueError(f"is not one of {', '.join(PROGRESS_MODES)}")
    return text


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character inside")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise ValueError("is not UTF-8 text") from problem
    return text


def parse_folder(text: str) -> str:
    """Put the home folder in place of a `~`; raise UsageError for what is no folder to save in.

    Raises UnicodeEncodeError for one that the locale has no characters for.
    """
    folder = _with_home(text.strip())
    if folder:
        from cometrep.names import check_folder

        os.fsencode(folder)
        check_folder(folder)
    return folder


def _with_home(text: str) -> str:
    return os.path.expanduser(_text(text))  # noqa: PTH111 - Path.expanduser raises where a name only looks like one


def parse_template(text: str) -> str:
    """Put the home folder in place of a `~` before a template's first slash, its own braces doubled.

    Raises UsageError for what is no template, and UnicodeEncodeError for one that the locale has no characters for;
    `-` is one here, for stdout.
    """
    start, slash, rest = _text(text).strip().partition("/")
    home = _with_home(start)
    template = (start if home == start else home.replace("{", "{{").replace("}", "}}")) + slash + rest
    if template not in ("", "-"):
        from cometrep.names import check_template

        check_template(template)
    os.fsencode(template)
    return template
