"""Which proxy a request goes through, where that is said."""

import re

import pytest

from cometrep import errors
from cometrep.transport import NoAuth, Session

NO_PROXY_ADDRESSES = {
    "port out of range": "http://user:se:cretpw@127.0.0.1:99999",
    "slash": "http://user:cre/tpw@h:1",
    "slash behind digits": "http://user:12/cretpw@h:1",
    "number sign": "http://user:cre#tpw@h:1",
    "number sign behind digits": "http://user:12#cretpw@h:1",
    "question mark": "http://user:cre?tpw@h:1",
    "question mark behind digits": "http://user:12?cretpw@h:1",
    "backslash": "http://user:1\\cretpw@h:1",
    "blank": "http://user:cretpw@h h:1",
    "no host": "http://user:cretpw@",
    "no host nor password": "http://cretpw@",
    "unknown scheme": "cretpw://h:1",
    "SOCKS with a bracket": "socks5://user:cre[tpw@h:1",
}


@pytest.mark.parametrize("proxy", NO_PROXY_ADDRESSES.values(), ids=NO_PROXY_ADDRESSES.keys())
def test_a_proxy_that_is_no_address_is_not_shown(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, the variable is named before anything is sent; its value may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with (
        Session(NoAuth()) as session,
        pytest.raises(errors.ConfigError, match="HTTPS_PROXY is not an address") as raised,
    ):
        session.get("https://api.example.test/")
    assert raised.value.code == "bad_setting"
    assert not re.search("cre|tpw|1", f"{raised.value.message} {raised.value.hint}")


@pytest.mark.parametrize(
    ("proxy", "used"),
    [
        ("localhost:3128", "http://localhost:3128"),
        (" http://localhost:3128\r", "http://localhost:3128"),
        ("http://u:p%2Fw@localhost:3128/", "http://u:p%2Fw@localhost:3128/"),
        ("http://u:p[w]@localhost:3128", "http://u:p%5Bw%5D@localhost:3128"),
        ("http://u:p\u2100w@localhost:3128", "http://u:p%E2%84%80w@localhost:3128"),
    ],
)
def test_a_proxy_may_be_written_as_with_curl(proxy: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its scheme, with blanks around it, and with a password in which Python sees no part of a URL."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with Session(NoAuth()) as session:
        settings = session.merge_environment_settings("https://api.example.test/", {}, None, None, None)
    assert settings["proxies"] == {"all": used}
