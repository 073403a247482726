"""What API and downloads share of HTTP."""

import requests
from hypothesis import example, given
from hypothesis import strategies as st

from cometrep.transport import NoAuth, Session

HOSTS = st.sampled_from(
    ("127.0.0.1:8787", "api.cometapi.com", "API.cometapi.com:443", "[::1]:80", "xn--bcher-kva.example")
)
PATHS = st.text("abcXYZ019/_-.%~ é?#&=+", max_size=20)


@given(st.sampled_from(("http://", "https://", "HTTPS://")), HOSTS, PATHS)
@example("https://", "api.cometapi.com", "replicate/v1/predictions/abc")
@example("https://", "api.cometapi.com", "a/../b")
@example("https://", "api.cometapi.com", "")
def test_a_get_after_another_goes_where_requests_would_send_it(scheme: str, host: str, path: str) -> None:
    """The pattern of the last request saves work and changes no URL and no header."""
    request = requests.Request("GET", f"{scheme}{host}/{path}", headers={"Accept": "*/*"})
    with Session(NoAuth()) as session:
        session.prepare_request(requests.Request("GET", "https://first.example/x", headers={"Accept": "*/*"}))
        prepared = session.prepare_request(request)
        expected = requests.Session.prepare_request(session, request)
    assert prepared.url == expected.url
    assert prepared.headers == expected.headers
