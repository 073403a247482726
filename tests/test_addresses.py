"""Public addresses and all others."""

import pytest

from cometrep.download.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255"),
        *("2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Of IPv4 and IPv6, and where the one stands in the other."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
        *("192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1"),
        *("100::1", "2001::1", "2001:10::1", "2001:db8::1", "3fff::1", "4000::1", "5f00::1"),
        *("::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:a00:1::1"),
    ],
)
def test_any_other_address_is_not(address: str) -> None:
    """Whichever of the special ranges it is in, also where an IPv4 address stands in one of IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "a.example", "1.2.3", "1.2.3.4.5", "[::1]", "0x7f000001"])
def test_what_is_no_address_is_an_error(text: str) -> None:
    """A name, or another spelling, is not judged."""
    with pytest.raises(ValueError, match=r".*"):
        is_public(text)
