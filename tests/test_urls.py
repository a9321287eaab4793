"""Addresses with passwords as people write them."""

import pytest

from siwatsystem import urls

PASSWORDS = ["a@b", "a:b", "a/b", "a?b", "a#b", "a@b:c/d?e#f", "a%40b", "@", "a;b&c", "é", "a b", "'", '"']


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("host", ["store", "store:8080", "[::1]", "[::1]:8080", "127.0.0.1"])
@pytest.mark.parametrize("tail", ["/x.mpta", "/x.mpta?sig=zq", "/x.mpta#zq"])
def test_where_the_password_ends_and_the_host_begins(password: str, host: str, tail: str):
    url = f"http://user:{password}@{host}{tail}"
    path = tail.partition("?")[0].partition("#")[0]
    assert urls.bare(url) == f"http://{host}{path}"
    parts = urls.split(url)
    assert parts.netloc.rpartition("@")[2] == host
    assert parts.username == "user"


@pytest.mark.parametrize(
    "url",
    [
        "http://u:p@h:port/x",
        "http://u:p@h:99999/x",
        "http://u:p@/x",
        "http://[::1/x",
        "http://u:p@",
        "http://u:a@b/c@h/x",
        "http://u:a@b:80/c@h/x",
        "http://u:a@b?c@h/x",
    ],
)
def test_a_mistake_quotes_nothing(url: str):
    with pytest.raises(ValueError, match="host") as wrong:
        urls.split(url)
    assert str(wrong.value).startswith(("it names no host that could be reached", "it holds more than one @"))
    assert urls.bare(url) == "no address"


@pytest.mark.parametrize(
    "url", ["file:///a/b.mpta", "file://localhost/a@b", "http://h/a", "https://h", "x.mpta"]
)
def test_what_has_no_password_stays_as_it_is(url: str):
    assert urls.split(url).geturl() == url
    assert urls.bare(url) == url
