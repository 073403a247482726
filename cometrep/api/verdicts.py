"""Say what an answer of the API means: the prediction that it holds, or the error that it is.

What each status comes to is told in the table of `cometrep.api`.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from cometrep import catalog, errors, hints
from cometrep.config.values import ApiKey
from cometrep.prediction import STATUSES, Prediction
from cometrep.references import ID_PATTERN
from cometrep.schedule import retry_after_seconds
from cometrep.transport.answers import Answer, is_passing

# The id of a cut answer, where nothing but plain members of the answer itself (or of its wrapper) stands before it.
_PLAIN_MEMBERS = r"""(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[\d.eE+-]+|null|true|false)\s*,)*\s*"""
_ID_TEXT = (
    rf"""\s*\{{{_PLAIN_MEMBERS}(?:"data"\s*:\s*\{{{_PLAIN_MEMBERS})?"""
    r""""(?:id|task_id)"\s*:\s*"([A-Za-z0-9_-]{1,200})\""""
)
_ID_PLACE = rf"[^?#]*/predictions/({ID_PATTERN})/?(?:[?#]|$)"  # of the address where a prediction is to be seen
_REFERENCE = r"last|[1-9]\d{0,2}"  # without its @, and an id as any other
_FINAL_CODES = ("invalid_request", "model_not_found")


class Verdicts:
    """What answers of the API at one base URL mean, asked with one API key, which is shown by its last four."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None,
        *,
        replace_key_command: str,
        clock: Callable[[], float],
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._replace_key_command = replace_key_command
        self._clock = clock

    def of_create(self, answer: Answer, model: str) -> Prediction:
        """Give the prediction that the answer to a create of a model names, or else raise the error it is."""
        if answer.is_redirect:
            if not answer.is_error and (id := _likely_id(answer)):
                told = f"the answer to the create (HTTP {answer.status}) is a redirect, and names a prediction"
                raise unknown(told, answer, id)
            if answer.status == 303:
                raise unknown(f"the create was answered as one that was taken: HTTP 303, {answer.leads}", answer)
            raise self._redirected(answer)
        if answer.status in range(200, 300) and (not answer.is_html or _likely_id(answer)):
            return self._created(answer)
        raise self._create_failure(answer, model)

    def of_look(self, answer: Answer, id: str) -> Prediction:
        """Give the prediction that a look's answer holds, or else raise the error it is."""
        if answer.is_redirect:
            raise self._redirected(answer)
        if answer.status not in range(200, 300) or answer.is_html:
            raise self._get_failure(answer, id)
        try:
            return Prediction.from_json(answer.body, id=id)
        except ValueError as problem:
            if answer.code in _FINAL_CODES:
                failure = self._common_failure(answer)
            elif answer.says_no_such_prediction(id):
                failure = self._not_found(answer, id)
            else:
                failure = self._error(errors.Temporary, answer, "bad_answer", hint=hints.RUN_AGAIN)
                failure.message += f": {'it did not come to an end' if answer.is_cut_short else problem}"
            raise failure from problem

    def _created(self, answer: Answer) -> Prediction:
        if prediction := _made(answer):
            return prediction
        told = f"the answer to the create (HTTP {answer.status})"
        if answer.is_cut_short:
            told += " broke off"
        else:
            told += " is an error" if answer.is_error else " names no usable prediction id"
            why = answer.message or answer.excerpt
            told += f": {why}" if why else ""
        raise unknown(told, answer, _likely_id(answer))

    def _create_failure(self, answer: Answer, model: str) -> errors.CometrepError:
        status = answer.status
        if status == 425:
            return self._error(errors.Temporary, answer, "server_error", hint=hints.RUN_AGAIN, is_final=True)
        if status in (408, 499) or (not 200 <= status < 500 and not _is_final(answer)):
            # A gateway that gave up may have told what it waits for; beside an error an id is rather the request's.
            is_its_own = isinstance(answer.body, Mapping) and not answer.body.get("error")
            id = _likely_id(answer) if is_its_own else ""
            return unknown(self._told(answer), answer, id)
        # A look is tried again all the same: of a prediction that is paid for it costs nothing.
        if status == 429 and answer.has_code_of_no_credit and "Retry-After" not in answer.headers:
            return self._no_credit(answer)
        hint = ""
        # A model that nobody knows has no inputs to show (apidoc.cometapi.com/api: check base URL, path, model).
        if status in (404, 405):
            hint = "cometrep models"
        elif status in (400, 422) or status >= 500:
            hint = catalog.command_for(model)
        return self._common_failure(answer, hint=hint)

    def _get_failure(self, answer: Answer, id: str) -> errors.CometrepError:
        status = answer.status
        if status in (401, 403):
            return self._common_failure(answer)
        if answer.is_html and not is_passing(status):
            return self._error(errors.Temporary, answer, "not_an_api", hint=hints.DOCTOR)
        if (status == 404 and not answer.says_wrong_path) or (status == 400 and answer.says_not_found):
            return self._not_found(answer, id)
        if status == 500 and answer.says_no_such_prediction(id):
            return self._not_found(answer, id)
        if (is_passing(status) and status != 429 and not _is_final(answer)) or status < 400:
            return self._error(errors.Temporary, answer, "server_error", hint=f"{hints.RUN_AGAIN} in a while")
        return self._common_failure(answer)

    def _no_credit(self, answer: Answer) -> errors.CometrepError:
        hint = f"top up the account, then {hints.RUN_AGAIN}"
        return self._error(errors.Refused, answer, "no_credit", hint=hint)

    def _not_found(self, answer: Answer, id: str) -> errors.CometrepError:
        is_reference = re.fullmatch(_REFERENCE, id)
        return self._error(
            errors.Refused,
            answer,
            "prediction_not_found",
            hint=f"for one made from this machine write @{id}" if is_reference else "cometrep list",
            what=f"this API key's account has no prediction {id}",
        )

    def _common_failure(self, answer: Answer, *, hint: str = "") -> errors.CometrepError:
        """Give the error of an answer that means the same to a create and to a look."""
        status = answer.status
        if answer.is_html and status not in (401, 402, 403, 413, 429):
            return self._error(errors.Refused, answer, "not_an_api", hint=hints.DOCTOR)
        if answer.says_wrong_path:
            what = f"the base URL {self._base_url} is wrong"
            return self._error(errors.Refused, answer, "not_an_api", hint=hints.DOCTOR, what=what)
        if status == 402 or (status == 403 and answer.says_no_credit):
            return self._no_credit(answer)
        if status == 401:
            return self._error(
                errors.ConfigError,
                answer,
                "api_key_refused",
                hint=self._replace_key_command,
                what=f"the API key {self._api_key} is refused",
            )
        if status == 403:  # the key is known; it may not do this, or something on the way lets nobody through
            is_blocked = answer.is_html or answer.is_block
            what = "blocked on the way" if is_blocked else f"the API key {self._api_key} may not do this"
            return self._error(errors.ConfigError, answer, "api_key_refused", hint=hints.DOCTOR, what=what)
        if status == 429:
            return self._error(errors.Temporary, answer, "rate_limited", hint=f"{hints.RUN_AGAIN} in a while")
        if status == 413:
            return self._error(
                errors.Refused, answer, "too_large", hint="make the files smaller, or give URLs of them"
            )
        if answer.code == "model_not_found":
            return self._error(errors.Refused, answer, "model_not_found", hint="cometrep models")
        return self._error(errors.Refused, answer, "bad_request", hint=hint or hints.DOCTOR)

    def _error(
        self,
        kind: type[errors.CometrepError],
        answer: Answer,
        code: str,
        *,
        hint: str,
        what: str = "",
        is_final: bool = False,
    ) -> errors.CometrepError:
        message = self._told(answer)
        failure = kind(
            f"{what} ({message})" if what else message,
            hint=hint,
            code=code,
            request_id=answer.request_id or None,
            http_status=answer.status,
        )
        if isinstance(failure, errors.Temporary):
            failure.retry_after_seconds = retry_after_seconds(answer.headers, answer.body, self._clock())
            failure.is_worth_repeating = not is_final
        return failure

    def _told(self, answer: Answer) -> str:
        """Say what an answer said: status, the API's own message, the request id."""
        told = f"HTTP {answer.status} from {self._base_url}"
        if answer.is_redirect:
            told += f": {answer.leads}"
            if answer.status != 304:
                told += "; the API does not redirect, so the base URL or the path is wrong"
        elif answer.is_html:
            told += ": a web page instead of JSON" + (f' ("{answer.title}")' if answer.title else "")
        elif told_why := answer.message or answer.excerpt:
            told += f": {told_why}"
        if answer.request_id and answer.request_id not in told:
            told += f" (request id: {answer.request_id})"
        return told

    def _redirected(self, answer: Answer) -> errors.CometrepError:
        return self._error(errors.Refused, answer, "redirected", hint=hints.DOCTOR)


def _made(answer: Answer) -> Prediction | None:
    """Give the prediction that the answer to a create names by an id that can be used; None for none."""
    if answer.is_cut_short:
        return None
    with contextlib.suppress(ValueError):
        made = Prediction.from_json(answer.body)
        if answer.is_error:  # an id beside it is rather the request's; a prediction has a status, as in a look
            made = Prediction.from_json(answer.body, id=made.id)
        if made.id and (made.status in STATUSES or not answer.is_error):
            return made
    return None


def _likely_id(answer: Answer) -> str:
    """Give what may be its prediction's id in an answer to a create that is not as it should be, empty for none."""
    body = answer.body
    if isinstance(body, list) and len(body) == 1:
        (body,) = body
    ids: list[Any] = []
    if isinstance(body, Mapping):
        with contextlib.suppress(ValueError):
            ids.append(Prediction.from_json(body).id)
        ids += body.get("task_id"), body.get("data") if body.get("code") == "success" else None
        result, urls = body.get("result"), body.get("urls")
        if isinstance(result, Mapping) and not answer.is_error:
            ids.append(result.get("id"))
        if isinstance(urls, Mapping) and (found := re.match(_ID_PLACE, str(urls.get("get")))):
            ids.append(found.group(1))
    elif body is None and (found := re.match(_ID_TEXT, answer.text)):
        ids.append(found.group(1))
    if found := re.match(_ID_PLACE, answer.headers.get("Location", "")):
        ids.append(found.group(1))
    return next((id for id in ids if isinstance(id, str) and re.fullmatch(ID_PATTERN, id)), "")


def _is_final(answer: Answer) -> bool:
    """Say whether a 5xx is no fault of the moment: the two statuses that live notes have these codes with."""
    return answer.status in (500, 503) and answer.code in _FINAL_CODES


def unknown(message: str, answer: Answer | None = None, id: str = "") -> errors.CreateUnknown:
    """Give the error of a create that may have been accepted; `id` is what its prediction's may be."""
    told = f"; its id may be {id}" if id else ""
    if answer and answer.request_id and answer.request_id not in message:
        message += f" (request id: {answer.request_id})"
    return errors.CreateUnknown(
        f"{message}; the prediction may exist and be billed: look into the usage log of the CometAPI console before"
        f" this is sent again{told}",
        hint=hints.WAIT_AGAIN.of(id) if id else hints.LIST_UNKNOWN,
        prediction_id=id or None,
        request_id=(answer.request_id if answer else "") or None,
        http_status=answer.status if answer else None,
    )
