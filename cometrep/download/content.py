"""Tell what came in the place of a file: a web page, JSON or text where a picture was due."""

import re
from urllib.parse import unquote, urlsplit

from cometrep import formats
from cometrep.names import EXTENSION_LIMIT
from cometrep.partfile import PartFile

_EXTENSION = rf"\.(?=[0-9]*[A-Za-z])([A-Za-z0-9]{{1,{EXTENSION_LIMIT}}})$"  # no number alone, as a version's
_MEDIA = ("image", "video", "audio")  # the types of what is no text
_MEDIA_EXTENSIONS = frozenset(
    (*formats.PICTURES, "mp4", "webm", "mov", "avi", "mkv", "mp3", "wav", "ogg", "flac", "m4a")
)
_TEXT_EXTENSIONS = frozenset({"html", "htm", "xhtml", "json", "geojson", "jsonl", "ipynb", "txt", "md", "xml"})


def wrong_content(url: str, part: PartFile) -> str:
    """Tell what came in the place of a picture, text or other file, empty where it may well be the file."""
    head, extension = part.head, url_extension(url)
    media_type = formats.media_type_of(part.content_type)
    may_be_media = not extension or extension in _MEDIA_EXTENSIONS
    is_due = extension in _MEDIA_EXTENSIONS or is_media(media_type)
    if extension == "svg" or media_type == "image/svg+xml":
        may_be_xml = not formats.shows_root(head)  # else it was recognised
    else:
        may_be_xml = not extension and media_type.endswith(("/xml", "+xml"))
    may_be_blank = not may_be_media or media_type.startswith("text/")
    if not head or not (may_be_blank or head.strip()):
        return "an empty file"
    if extension in _TEXT_EXTENSIONS or formats.sniff(head):
        return ""
    if formats.looks_like_html(head) or media_type == "text/html":
        return "a web page instead of the file"
    if may_be_xml and formats.looks_like_markup(head):
        return ""
    if may_be_media and (formats.looks_like_json(head) or media_type == "application/json"):
        return "JSON instead of the file"
    if is_due and part.is_json_alone:
        return "a value of JSON instead of the file"
    if may_be_media and formats.looks_like_markup(head):
        return "markup instead of the file"
    if extension in _MEDIA_EXTENSIONS and (media_type == "text/plain" or head.startswith(formats.UTF_16_MARKS)):
        return "text instead of the file"
    return ""


def url_extension(url: str) -> str:
    """Give the extension that a URL's path ends in, empty where it ends in none."""
    try:
        found = re.search(_EXTENSION, unquote(urlsplit(url).path))
    except ValueError:
        return ""
    return found.group(1).lower() if found else ""


def is_media(content_type: str) -> bool:
    """Say whether a type is that of a picture, a film or a sound."""
    return content_type.lower().partition("/")[0] in _MEDIA


def is_misnamed(suffix: str, head: bytes, kind: str, extension: str) -> bool:
    """Say whether a name ends as those of another format do; `kind` is what the file holds, `extension` was due."""
    named = formats.format_named(suffix)
    is_known = formats.sniff(head) or (kind in _TEXT_EXTENSIONS and named in _MEDIA_EXTENSIONS)
    return bool(is_known) and named not in ("", *map(formats.format_named, (extension, kind)))
