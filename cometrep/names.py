"""Name saved files: templates, portable names, and no two alike.

A name may be made of what a server sent, so every field's value is brought to one portable path component; only
the user's own template makes folders.
"""

import contextlib
import functools
import hashlib
import os
import re
import unicodedata
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from cometrep import errors, hints
from cometrep.hiding import masked

FIELDS = ("id", "index", "ext", "model", "name", "date", "key")
LIMIT_BYTES = 255  # of one name, on every file system in use
EXTENSION_LIMIT = 12  # characters; `safetensors` has one less
SIDECAR_SUFFIX = ".cometrep.json"
UTF8_LOCALE = "export LC_ALL=C.UTF-8"
"""The hint where the locale has not the characters of a name."""
BATCH_PAGE = "index.html"
BATCH_RECORD = r"batch(?:\.(\d{1,6})-(\d{1,6}))?\.jsonl"  # with the shard's numbers, where it is one's

# Windows: https://learn.microsoft.com/windows/win32/fileio/naming-a-file; the superscripts count as digits there.
_RESERVED = r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?"
# What is portable as it stands, as most names are.
_PLAIN = rf"[A-Za-z0-9_](?:[A-Za-z0-9_. -]{{,{LIMIT_BYTES - 2}}}[A-Za-z0-9_-])?"
_CONTROLS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
_NO_FOLDER_OF_FILES = r"/dev/(?:fd/)?$|/proc/.+/fd/$"  # /dev/shm is one of files
_FORBIDDEN = frozenset('<>:"/\\|?*')


def batch_record(shard: tuple[int, int] | None = None) -> str:
    """Name the record of a batch, or of a shard's part of one."""
    return f"batch.{shard[0]}-{shard[1]}.jsonl" if shard else "batch.jsonl"


class Names(NamedTuple):
    """The names that one template gives the files of one prediction, but for the extension, known last.

    `folder` is where the command saves; the template may add folders below it, or leave it with `..` or `/`. Those
    of a batch's item, which has a `key`, are never those of the batch's own files.
    """

    folder: str
    template: str
    id: str
    model: str
    date: str
    key: str = ""

    @functools.lru_cache(maxsize=64)  # noqa: B019 - a few small values, asked again and again while a file is saved
    def path(self, index: int, extension: str) -> Path:
        """Give the path of output file number `index` with an extension."""
        path = Path(self.folder, self._relative(index, extension))
        if self.is_the_batchs(index, extension):  # its id tells it from all that other keys may give
            return path.with_name(f"{path.stem}-{portable(self.id)}{path.suffix}")
        return path

    def is_the_batchs(self, index: int, extension: str) -> bool:
        """Say whether the template gives a batch's item the name of its record, another shard's, or its page."""
        path = Path(self.folder, self._relative(index, extension))
        name = path.name.casefold()  # by which many file systems tell names apart
        if not self.key or not (name == BATCH_PAGE or re.fullmatch(BATCH_RECORD, name)):
            return False
        with contextlib.suppress(OSError):  # one of the two is not made yet
            return path.parent.samefile(self.folder)
        with contextlib.suppress(OSError):  # the working folder is gone
            return os.path.abspath(path.parent) == os.path.abspath(self.folder)  # noqa: PTH100 - pathlib keeps `..`
        return False

    def _relative(self, index: int, extension: str) -> str:
        values = {
            "id": portable(self.id),
            "ext": re.sub(r"[^a-z0-9]", "", extension.lower())[:EXTENSION_LIMIT] or "bin",
            "model": portable(self.model.replace("/", "-") or "model"),
            "name": portable(self.model.rpartition("/")[2] or "model"),
            "date": portable(self.date),
            "key": portable(self.key or self.id),
        }
        parts = [_expand(part, values, index) for part in self.template.replace("\\", "/").split("/")]
        return "/".join(parts)

    @property
    def has_extension(self) -> bool:
        """Whether the names tell what kind of file each is, which is known last."""
        return "ext" in fields_of(self.template)

    def are_distinct(self, count: int) -> bool:
        """Say whether `count` files get as many names, whatever their extensions turn out to be."""
        return len({self.comparable(index) for index in range(count)}) == count

    def comparable(self, index: int) -> str:
        """Give a name as many file systems compare it: they tell neither case nor composed accents apart."""
        path = os.path.join(self.folder, self._relative(index, "ext"))  # noqa: PTH118 - a Path would cost more
        # `{index}/../cat.webp` is one place, whatever the index.
        return unicodedata.normalize("NFC", os.path.normpath(path)).casefold()

    def check(self, count: int) -> None:
        """Raise UsageError where the template gives two of `count` files one name."""
        if not self.are_distinct(count):
            raise errors.UsageError(
                f"the template {self.template!r} gives {count} output files of {self.id} one name",
                remedy=hints.OWN_NAMES,
                code="name_clash",
                prediction_id=self.id,
            )

    def part_folder(self, index: int) -> Path:
        """Give the folder for the part file: the target's own, as far as it does not depend on the extension."""
        if "ext" not in fields_of(self.template.replace("\\", "/").rpartition("/")[0]):
            return self.path(index, "bin").parent
        one, other = self.path(index, "one").parent, self.path(index, "other").parent
        while one != other:
            one, other = one.parent, other.parent
        return one


def default_template(count: int) -> str:
    """Give the template of default names: `ID.EXT` for one output file, `ID-0.EXT` and so on for several."""
    return "{id}.{ext}" if count == 1 else "{id}-{index}.{ext}"


@functools.lru_cache(maxsize=64)  # a command has one template, and two defaults
def fields_of(template: str) -> frozenset[str]:
    """Give the fields that a template has; raise ValueError for a stray brace."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


@functools.lru_cache(maxsize=64)  # a batch asks of each item
def fixed_extension(template: str) -> str:
    """Give the extension that all names of a template have, empty where there is none or its fields make it."""
    extension = Path(template.replace("\\", "/")).suffix.removeprefix(".")
    return extension if re.fullmatch(r"\w+", extension) else ""


def check_folder(folder: str) -> None:
    """Raise UsageError for a folder whose paths are no lines, or that holds no files of its own, as /dev."""
    if re.search(_CONTROLS, folder):
        raise errors.UsageError(f"the folder {folder!r} has a control character inside", hint=hints.ELSEWHERE)
    real = folder
    with contextlib.suppress(OSError):  # the working folder may be gone
        real = os.path.realpath(folder)
    if re.match(_NO_FOLDER_OF_FILES, f"{real}/"):
        raise errors.UsageError(
            f"the folder {folder!r} is one of devices, and no place for a file",
            hint="-o - writes the one output file to stdout",
        )


def check_template(template: str) -> None:
    """Raise UsageError for a template with an unknown field or a stray brace, or without a file name."""
    problem, hint = _field_problem(template), "its fields are " + ", ".join(f"{{{field}}}" for field in FIELDS)
    if not problem:
        problem, hint = _name_problem(template), "name files as in '{id}-{index}.{ext}'; for a folder use --dir"
    if problem:
        raise errors.UsageError(
            masked(f"the output template {template!r}: {problem}"),
            hint=hint,
            code="bad_template",
        )


def _field_problem(template: str) -> str:
    """Say what is wrong with a template's fields, of several the last; empty where they are what they should be."""
    problem = ""
    try:
        for _, name, spec, conversion in Formatter().parse(template):
            if name is None:
                continue
            if name not in FIELDS:
                problem = f"no field {{{name}}}"
            elif conversion or (spec and not (name == "index" and re.fullmatch(r"0[1-9]d?", spec))):
                given = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                problem = f"only {{index:03}} takes a format, not {{{name}{given}}}"
    except ValueError:
        return "it has a brace alone; one that belongs to a name is written {{ or }}"
    return problem


def _name_problem(template: str) -> str:
    """Say why a template gives no name for files; empty where it does."""
    parts = re.split(r"[/\\]", template)
    if parts[-1] in ("", ".", ".."):
        return "it ends without a file name"
    last = parts[-1].lower().rstrip(" .")
    if last.endswith((SIDECAR_SUFFIX, f"{Path(SIDECAR_SUFFIX).stem}.{{ext}}")):
        return f"{SIDECAR_SUFFIX} is how sidecars end"
    if last.startswith(".") and last.endswith((".part", ".part.json", ".part.{ext}")):
        return "a dot before and .part behind is how incomplete files are named"
    if re.search(_CONTROLS, template):
        return "it has a control character inside"
    if any(len(part.encode("utf-8", "surrogateescape")) > LIMIT_BYTES for part in parts if "{" not in part):
        return f"a part of it has more than {LIMIT_BYTES} bytes"
    return ""


@functools.lru_cache(maxsize=64)  # the same few for every file of a prediction
def portable(text: str) -> str:
    """Bring any text to a file name that every system takes: one component, never hidden, never reserved.

    At most 255 bytes of UTF-8; what is cut off is replaced by a hash of the whole.
    """
    if re.fullmatch(_PLAIN, text) and not re.fullmatch(_RESERVED, text):
        return text
    text = unicodedata.normalize("NFC", text)
    if not fits_locale(text):
        text = "".join(c if fits_locale(c) else "_" for c in text)
    kept = "".join("_" if c in _FORBIDDEN or (unicodedata.category(c)[0] in "CZ" and c != " ") else c for c in text)
    kept = re.sub(r"(?<!#)##++(?=\w*\[)", "-", kept)  # a command, where a CI runner reads the path in a log
    kept = kept.lstrip(" ").rstrip(" .")
    if kept.startswith((".", "-")):
        kept = "_" + kept[1:]
    if not kept or re.fullmatch(_RESERVED, kept):
        kept = "_" + kept
    return _shortened(kept)


def fits_locale(text: str) -> bool:
    """Say whether the locale's encoding, in which names are written, has all characters of a text."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _expand(part: str, values: dict[str, str], index: int) -> str:
    if "{" not in part and "}" not in part:
        return part
    expanded = part.format(**values, index=index)
    if re.fullmatch(_RESERVED, expanded):
        expanded = "_" + expanded
    return _shortened(expanded.rstrip(" ."))


def _shortened(name: str) -> str:
    if len(name.encode()) <= LIMIT_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > EXTENSION_LIMIT:
        stem, dot, extension = name, "", ""
    end = f"~{hashlib.sha256(name.encode()).hexdigest()[:12]}{dot}{extension}"
    room = LIMIT_BYTES - len(end.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + end
