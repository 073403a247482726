"""Read what an HTTP answer says: its JSON, its error in every public form, its request id."""

import json
import re
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from cometrep import formats
from cometrep.hiding import without_key
from cometrep.json_values import change_texts, parse_json

_REQUEST_ID_HEADERS = ("x-cometapi-request-id", "x-oneapi-request-id", "x-request-id")
_TITLE = r"(?i)<title[^>]{0,200}>([^<]{1,1000})</title>"
_TITLE_WITHIN = 20_000  # characters; a page's head comes first
_NOT_FOUND = r"not?[ _-]?(?:exists?|(?:be )?found)|does ?n[o']t exist"
_BETWEEN = r"""[\s_:"'`-]{1,3}"""
# Of a task or a prediction, whatever it is called: behind a gateway much else is not found, as hosts and models.
_BEHIND_A_WORD = r"^(?:(?:the|this|requested|given) )*(?:id|record|resource)"
_ITS_NAMES = rf"\b(?:task|prediction|job|generation)s?|\bTHE_ID|{_BEHIND_A_WORD}"
_NO_SUCH_PREDICTION = (
    rf"^(?:{_NOT_FOUND})"
    rf"|(?:{_ITS_NAMES})(?:{_BETWEEN}(?:with|id|THE_ID|is|was|does|could|expired|or)){{0,6}}{_BETWEEN}(?:{_NOT_FOUND})"
    r"|\bno such (?:task|prediction|job|id)\b"
)
# The codes and the words of gateways of the family (QuantumNous/new-api: service/pre_consume_quota.go), which send
# some of them without the other.
_NO_CREDIT = (
    r"pre_consume_token_quota_failed|\binsufficient[_ ](?:user[_ ])?quota\b|额度(?:不足|失败)"
    r"|quota[_ ](?:is[_ ])?(?:not[_ ]enough|insufficient)\b"
)
# By QuantumNous/new-api (controller/relay.go) as by OpenAI, and by web frameworks for Node.
_WRONG_PATH = r"\bInvalid URL \((?:GET|POST) /|\bCannot (?:GET|POST) /"
_BLOCK = r"error code: 1\d{3}"
_SUCCESS_CODES = ("", "0", "200", "201", "202", "ok", "success")
_MESSAGES = ("title", "message", "detail", "error_description")
_MESSAGE_LIMIT = 2000  # characters
_EXCERPT = 500
_REQUEST_ID_TEXT = r"(?i)\(?request id: ?([^)\s]{1,200})\)?"


def is_passing(status: int) -> bool:
    """Say whether an HTTP status tells of a fault of the moment, for what may be asked once more."""
    return status in (408, 425, 429, 499) or status >= 500


class Answer:
    """One answer, read: status, headers, body as JSON where it is JSON, and the error it tells of.

    The body is free of `key`, the API key, however it is encoded there.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], content: bytes, *, key: str = "", is_cut_short: bool = False
    ) -> None:
        self.status = status
        self.headers = headers
        self.is_cut_short = is_cut_short
        # UTF-8 as a rule (RFC 8259, 8.1), and where its first bytes show another form of Unicode, that.
        text = content.decode(json.detect_encoding(content), "replace").removeprefix("\ufeff")
        self.text = without_key(text, key)
        media_type = headers.get("Content-Type", "").lower()
        self.is_html = formats.looks_like_html(content) or (
            "html" in media_type and bool(content.strip()) and not formats.looks_like_json(content)
        )
        self.body: Any = None if self.is_html or is_cut_short else parse_json(text)
        if key and ("\\" in text or self.text != text):
            self.body = change_texts(self.body, partial(without_key, key=key))

    @cached_property
    def _told(self) -> tuple[str, str]:
        return _told_by(self.body, "" if self.is_html else self.text)

    @property
    def message(self) -> str:
        """What it says of an error, empty where it says nothing."""
        return self._told[0]

    @property
    def code(self) -> str:
        """The error's code, empty where it has none."""
        return self._told[1]

    @property
    def is_error(self) -> bool:
        """Whether its body is that of an error, whatever the HTTP status is, or of a prediction that failed."""
        body = self.body
        if not isinstance(body, Mapping):
            return False
        status = body.get("status")
        return (
            bool(body.get("error") or body.get("detail"))
            or body.get("success") is False
            or str(body.get("code") or "").lower() not in _SUCCESS_CODES
            or (isinstance(status, int) and status >= 400)
        )

    @property
    def request_id(self) -> str:
        """The id of the request, from the headers or the message, empty where neither has one."""
        header = next((h for name in _REQUEST_ID_HEADERS if (h := self.headers.get(name))), "")
        told = re.search(_REQUEST_ID_TEXT, self.message)
        return header[:200] or (told.group(1) if told else "")

    @property
    def is_redirect(self) -> bool:
        """Whether the answer sends the client elsewhere."""
        return 300 <= self.status < 400

    @property
    def leads(self) -> str:
        """Where a redirect leads, in words."""
        if self.status == 304:
            return "not modified, as only a cache on the way says"
        to = self.headers.get("Location", "")[:200]
        return f"redirected to {to}" if to else "a redirect that names no address"

    @property
    def is_block(self) -> bool:
        """Whether Cloudflare, on the way to the API, answered in its place, with one of its errors 1xxx."""
        if isinstance(self.body, Mapping):
            return self.body.get("cloudflare_error") is True
        return re.fullmatch(_BLOCK, self.text.strip()) is not None

    @property
    def says_wrong_path(self) -> bool:
        """Whether it says that there is no such path: the address is wrong then, and not an id or a model."""
        return self.status == 404 and re.search(_WRONG_PATH, self.message) is not None

    @property
    def says_not_found(self) -> bool:
        """Whether its message says that something does not exist, whatever its status is."""
        return re.search(_NOT_FOUND, self.message, re.IGNORECASE) is not None

    def says_no_such_prediction(self, id: str) -> bool:
        """Say whether its message says that a prediction does not exist, which has this id if it names one."""
        pattern = _NO_SUCH_PREDICTION.replace("THE_ID", re.escape(id))
        return re.search(pattern, self.message, re.IGNORECASE) is not None

    @property
    def says_no_credit(self) -> bool:
        """Whether its message or its code says that the account's credit is used up."""
        return re.search(_NO_CREDIT, self.message, re.IGNORECASE) is not None

    @property
    def has_code_of_no_credit(self) -> bool:
        """Whether its code says so, whatever words stand beside it: a limit of requests may be a quota too."""
        return re.search(_NO_CREDIT, self.code, re.IGNORECASE) is not None

    @property
    def excerpt(self) -> str:
        """The beginning of a body in which no known form of an error was found, as one line."""
        return "" if self.is_html else " ".join(self.text[:_EXCERPT].split())

    @property
    def title(self) -> str:
        """The title of a web page."""
        found = re.search(_TITLE, self.text[:_TITLE_WITHIN])
        return " ".join(found.group(1).split())[:100] if found else ""


def _told_by(body: Any, text: str) -> tuple[str, str]:
    """Read an error's message and code in every form that public sources show.

    `{error: {message, code}}` (apidoc.cometapi.com), `{error: "…"}` and `{code, message, data}` (gateway family),
    `{title, detail, status}` and `{detail}` (Replicate), `{error: "…"}` beside a `message`, a `detail` (web
    frameworks) or an `error_description` (RFC 6749, 5.2), plain text.
    """
    if not isinstance(body, Mapping):
        plain = " ".join(text.split())
        return (plain[:500], "") if body is None else ("", "")
    error = body.get("error")
    source = error if isinstance(error, Mapping) else body
    code = source.get("code")
    code = code if isinstance(code, str) else ""
    parts = [error if isinstance(error, str) else None, *map(source.get, _MESSAGES)]
    message = ": ".join(dict.fromkeys(filter(None, map(_text_of, filter(None, parts)))))
    if code and code != "success" and code not in message:
        message = f"{message} [{code}]" if message else code
    return message[:_MESSAGE_LIMIT], code


def _text_of(part: Any) -> str:
    """Give what a part of an error says as one text; several sentences are joined."""
    if isinstance(part, list) and all(isinstance(one, str) for one in part):
        return "; ".join(one.strip() for one in part)
    return part.strip() if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
