"""Talk to the prediction API over HTTP, and nothing else.

One call is one request: whether it is repeated is decided elsewhere, from the kind of error raised here.

What a create's failure means, by what may have reached the server. Sent again (by the caller, within its retry
budget) are the rows marked "again", and no others::

    what happened                                          raised          sent again   exit
    no connection: DNS, refused, connect timeout, proxy,   Temporary       again        7
      TLS handshake broken off
    no connection: a setting (proxy login, CA bundle)      ConfigError     no           3
    TLS handshake failed                                   Temporary       no           7
    connection lost after the body began to leave,         CreateUnknown   no           10
      before or in the middle of the answer; read timeout
    429                                                    Temporary       again        7
    429 with the code of a used-up credit                  Refused         no           8
    425                                                    Temporary       no           7
    408, 499                                               CreateUnknown   no           10
    400, 402, 404, 405, 413, 415, 422, other 4xx           Refused         no           8
    401, 403 (without credit it is 8)                      ConfigError     no           3
    303; any other 3xx with an id in its address or body   CreateUnknown   no           10
    every other 3xx                                        Refused         no           8
    500 or 503 with code invalid_request, model_not_found  Refused         no           8
    every other 5xx (500, 502, 503, 504, 524), HTML or not CreateUnknown   no           10
    101; other 1xx are passed over                         CreateUnknown   no           10
    2xx with an id, and a status where an error is too     the prediction               0
    2xx with HTML and no id in Location                    Refused         no           8
    2xx with anything else                                 CreateUnknown   no           10

A look (GET) is free to repeat, so all that may pass is Temporary there: lost connections, timeouts, 408, 425,
429, 499, 5xx, HTML and answers that are no predictions. 3xx, 401, 403, 404, other 4xx, the two codes above, and a
200 or 500 that says that the prediction does not exist, are final.

Sources: apidoc.cometapi.com/errors/error-codes-handling and guides/error-codes-and-retry-strategy; the two codes
on 500 and 503 are from live notes of 2026; a 303 shows where the outcome of what was taken is to be seen, and other
redirects ask for it elsewhere (RFC 9110, 15.4); Replicate's clients repeat a create on 429 alone; what 403 means
without credit is from QuantumNous/new-api: service/pre_consume_quota.go and relay/relay_task.go.
"""

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.client import HTTPException
from typing import Any

import requests
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError as TransportError

from cometrep import __version__, errors, hints
from cometrep.api.verdicts import Verdicts, unknown
from cometrep.config import KEY_PAGE, blank_variable
from cometrep.config.values import ApiKey
from cometrep.data_uris import shorten_data_uris
from cometrep.hiding import without_key
from cometrep.prediction import Prediction
from cometrep.transport import Session, way_to
from cometrep.transport.answers import Answer
from cometrep.transport.reasons import TRUST_MORE, is_broken_off, is_distrusted, is_misdirected, reason_of

CONNECT_TIMEOUT_SECONDS = 15.0
READ_TIMEOUT_SECONDS = 75.0  # the provider's own page records answers that took 45 s
ANSWER_TIMEOUT_SECONDS = 300.0  # for a whole answer from its first byte on, however slowly it drips
ANSWER_LIMIT_BYTES = 64_000_000

_CHUNK_BYTES = 65536

_log = logging.getLogger("cometrep.api")


class Api:
    """The prediction API at one base URL, spoken to with one API key.

    Its session follows no redirects, keeps no cookies and takes proxies and CA bundles from the environment;
    the key goes through `auth`, so that a netrc entry cannot replace it.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: ApiKey | None,
        connections: int = 10,
        replace_key_command: str = "cometrep login",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url
        self._connections = connections
        self._api_key = api_key
        self._verdicts = Verdicts(base_url, api_key, replace_key_command=replace_key_command, clock=clock)
        self._lock = threading.Lock()
        self._opened: Session | None = None

    @property
    def _to_hide(self) -> str:
        return self._api_key.to_hide if self._api_key else ""

    def close(self) -> None:
        """Close the connections."""
        if self._opened:
            self._opened.close()

    def create(
        self, model: str, values: Mapping[str, Any], *, before_leaving: Callable[[], None] = lambda: None
    ) -> Prediction:
        """Send one create, once, and give the prediction that the answer names.

        `before_leaving` is called when the connection stands and the body is about to leave: from then on the
        prediction may exist. Raises as the module's table says.
        """
        body = _Body(_encoded(values), before_leaving)
        url = self._create_url(model)
        try:
            answer = self._send("POST", url, body)
        except (requests.RequestException, errors.ConfigError) as problem:
            if body.has_begun_to_leave:
                told = "no answer to the create" if body.has_left else "the create did not leave whole"
                raise unknown(f"{told}: {self._reason(problem)}") from problem
            if isinstance(problem, errors.ConfigError):
                raise
            raise self._unreachable(problem) from problem
        return self._verdicts.of_create(answer, model)

    def get(self, id: str) -> Prediction:
        """Look at a prediction once; raise as the module's docstring says."""
        try:
            try:
                answer = self._send("GET", f"{self._base_url}/replicate/v1/predictions/{id}", None)
            except requests.RequestException as problem:
                raise self._unreachable(problem) from problem
            return self._verdicts.of_look(answer, id)
        except errors.CometrepError as failure:
            failure.prediction_id = id
            raise

    def describe_create(self, model: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Show the request that `create` would send, its key hidden and its data URIs shortened.

        Raises as `check_input` does.
        """
        self.check_input(model, values)
        key = f"Bearer {self._api_key}" if self._api_key else "Bearer (no API key is set)"
        return {
            "method": "POST",
            "url": self._create_url(model),
            "headers": {
                "User-Agent": f"cometrep/{__version__}",
                "Accept": "application/json",
                "Authorization": key,
                "Content-Type": "application/json",
            },
            "body": {"input": shorten_data_uris(values)},
        }

    def _create_url(self, model: str) -> str:
        # The documented path has owner/name as one parameter; the slash stays literal.
        return f"{self._base_url}/replicate/v1/models/{model}/predictions"

    def check_settings(self) -> None:
        """Raise ConfigError where nothing can be sent: without an API key, or where the proxy is no address."""
        self._session().route_to(self._base_url)

    def check_input(self, model: str, values: Mapping[str, Any]) -> None:
        """Raise UsageError where the model or an input holds the API key, as a file may: it would be recorded."""
        for name, value in (("MODEL", model), *values.items()):  # an input may have that name too
            told = json.dumps({name: value}, default=repr)  # its name too, and the values of a sweep
            if self._clean(told) != told:
                raise errors.UsageError(
                    f"input {self._clean(name)} holds the API key; nothing was sent",
                    hint="look at what it names: a text that begins with @ is a file",
                    code="bad_input",
                )

    def _required_key(self) -> ApiKey:
        if self._api_key is None:
            blank = blank_variable("api_key")
            told = f"no API key is set, as {blank} is blank" if blank else "no API key is set"
            raise errors.ConfigError(
                f"{told}; keys are made at {KEY_PAGE}, in CI COMETAPI_KEY gives one, and --sandbox needs none",
                hint="cometrep login",
                code="api_key_missing",
            )
        return self._api_key

    def _session(self) -> Session:
        key = self._required_key()
        with self._lock:
            if self._opened is None:
                self._opened = Session(
                    _Bearer(key), self._connections, answer_timeout_seconds=ANSWER_TIMEOUT_SECONDS
                )
                self._opened.headers["Accept"] = "application/json"
            return self._opened

    def _send(self, method: str, url: str, body: "_Body | None") -> Answer:
        session = self._session()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"} if body else {}
        _log.debug("> %s %s (Authorization: Bearer %s)", method, url, self._api_key)
        if body and _log.isEnabledFor(logging.DEBUG):
            _log.debug("> %s", json.dumps(shorten_data_uris(json.loads(body.content))))
        began = time.monotonic()
        # Session.request, not Session.send: only it merges proxies and REQUESTS_CA_BUNDLE (psf/requests#3626).
        with session.request(
            method,
            url,
            data=body,
            headers=headers,
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
        ) as response:
            content, is_cut_short = self._read(response, began, is_create=body is not None)
        content, is_too_long = _decoded(content, response.headers.get("Content-Encoding", ""))
        answer = Answer(
            response.status_code,
            self._clean_headers(response.headers),
            content,
            key=self._to_hide,
            is_cut_short=is_cut_short or is_too_long,
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "< %s in %.3f s, %d bytes, request id %s",
                answer.status,
                time.monotonic() - began,
                len(content),
                answer.request_id or "none",
            )
        return answer

    @staticmethod
    def _read(response: requests.Response, began: float, *, is_create: bool) -> tuple[bytes, bool]:
        """Read an answer's body within its limits; the second value says whether it is not all of it."""
        content = bytearray()
        # What is there, and not only a whole chunk: an answer may drip. Undecoded, as a decoder holds back the last
        # bytes before a break, and in them may stand the id of a paid prediction.
        chunks = iter(partial(response.raw.read1, _CHUNK_BYTES, decode_content=False), b"")
        try:
            for chunk in chunks:
                content += chunk
                is_late = time.monotonic() - began > READ_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS
                if len(content) > ANSWER_LIMIT_BYTES or is_late:  # of which no connection through SOCKS knows
                    return bytes(content), True
        except (requests.RequestException, TransportError, HTTPException, OSError) as problem:
            if not is_create:
                raise requests.exceptions.ChunkedEncodingError(problem) from problem
            return bytes(content), True  # its status line says more than the broken body takes away
        return bytes(content), False

    def _unreachable(self, problem: requests.RequestException) -> errors.CometrepError:
        # Whatever it is, the proxy may be at fault: one that hangs looks like an API that does.
        told = f"cannot reach {self._base_url}{way_to(self._base_url)}: {self._reason(problem)}"
        if is_misdirected(problem):
            return errors.ConfigError(told, hint=hints.DOCTOR, code="bad_setting")
        is_tls = isinstance(problem, requests.exceptions.SSLError) and not is_broken_off(problem)
        failure = errors.Temporary(
            told,
            hint=TRUST_MORE if is_distrusted(problem) else hints.DOCTOR,
            code="tls" if is_tls else "network",
        )
        failure.is_worth_repeating = not is_tls
        return failure

    def _reason(self, problem: BaseException) -> str:
        return self._clean(reason_of(problem))

    def _clean_headers(self, headers: CaseInsensitiveDict[str]) -> Mapping[str, str]:
        told = "\n".join(headers.values())
        if self._clean(told) == told:  # as a rule; a copy for each look would cost more than the looking
            return headers
        return CaseInsensitiveDict((name, self._clean(text)) for name, text in headers.items())

    def _clean(self, text: str) -> str:
        """Hide the API key where a server or a library echoed it."""
        return without_key(text, self._to_hide)


def _decoded(content: bytes, encoding: str) -> tuple[bytes, bool]:
    """Undo a body's encoding, within the limit; it stands as it is where it has no more of that than the label.

    The second value says whether it is not all of it.
    """
    encoding = ", ".join(word for word in encoding.replace(" ", "").split(",") if word.lower() != "identity")
    if not encoding:
        return content, False
    encoded = HTTPResponse(io.BytesIO(content), {"Content-Encoding": encoding}, preload_content=False)
    decoded = bytearray()
    try:
        for chunk in encoded.stream(_CHUNK_BYTES):
            decoded += chunk
            if len(decoded) > ANSWER_LIMIT_BYTES:
                return bytes(decoded), True
    except TransportError:
        return content, False
    return bytes(decoded), False


class _Bearer(AuthBase):
    """Set the Authorization header; requests reads no netrc where a session has an `auth`."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


class _Body:
    """A request body that knows whether any of it has been handed to a connection, and whether all of it was.

    A connection asks for the body after it stands (TCP, proxy tunnel, TLS) and the headers are out, so a body
    that was never asked for belongs to a request that no server can have accepted.
    """

    def __init__(self, content: bytes, before_leaving: Callable[[], None]) -> None:
        self.content = content
        self.has_begun_to_leave = self.has_left = False
        self._before_leaving = before_leaving

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> Iterator[bytes]:
        self._before_leaving()
        self.has_begun_to_leave = True
        # The limit on sending is one on each piece, so the whole takes as long as the line needs; but for what the
        # system takes at once, for which the wait for the answer has to do.
        for begin in range(0, len(self.content), _CHUNK_BYTES):
            yield self.content[begin : begin + _CHUNK_BYTES]
        self.has_left = True


def _encoded(values: Mapping[str, Any]) -> bytes:
    return json.dumps({"input": dict(values)}, allow_nan=False).encode()
