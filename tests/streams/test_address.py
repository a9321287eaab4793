"""Which addresses are opened, and how they are taken apart."""

from pathlib import Path

import pytest

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamRefused
from siwatsystem.streams.address import parse_address

OPEN = StreamSettings()
NARROW = StreamSettings(networks=("10.1.0.0/16", "fd00::/8"))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("rtsp://cam/live", ("rtsp", None, None, "cam", 554, "/live")),
        ("RTSP://cam", ("rtsp", None, None, "cam", 554, "/")),
        ("rtsp://u:p@cam:8554/a?b=c", ("rtsp", "u", "p", "cam", 8554, "/a?b=c")),
        ("rtsp://u:p%40ss@cam/", ("rtsp", "u", "p@ss", "cam", 554, "/")),
        ("rtsp://u:p@ss@cam/x", ("rtsp", "u", "p@ss", "cam", 554, "/x")),
        ("rtsp://u:p:q@cam/x", ("rtsp", "u", "p:q", "cam", 554, "/x")),
        ("rtsp://u:p/w@cam/x", ("rtsp", "u", "p/w", "cam", 554, "/x")),
        ("rtsp://u:@:/@cam:99/x", ("rtsp", "u", "@:/", "cam", 99, "/x")),
        ("rtsp://u@cam/x", ("rtsp", "u", "", "cam", 554, "/x")),
        ("rtsp://cam/x@y", ("rtsp", None, None, "cam", 554, "/x@y")),
        ("https://[::1]:444/s.jpg", ("https", None, None, "::1", 444, "/s.jpg")),
        ("http://192.168.1.2/s.jpg?x=1", ("http", None, None, "192.168.1.2", 80, "/s.jpg?x=1")),
    ],
)
def test_an_address_is_taken_apart(url: str, parts: tuple[object, ...]) -> None:
    address = parse_address(url, OPEN)
    found = (address.scheme, address.user, address.password, address.host, address.port, address.target)
    assert found == parts


@pytest.mark.parametrize("password", ["p@ss", "a:b", "a/b", "@:/?#", "per%cent", "ä"])
def test_an_escaped_password_survives_being_written_and_read(password: str) -> None:
    from urllib.parse import quote

    address = parse_address(f"rtsp://u:{quote(password, safe='')}@cam:1/x", OPEN)
    assert address.password == password
    assert parse_address(address.url(), OPEN) == address
    assert password not in address.url(credentials=False)
    assert password not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cam/live",
        "ftp://cam/x",
        "javascript:alert(1)",
        "rtsp://",
        "rtsp:///x",
        "rtsp://cam:0/x",
        "rtsp://cam:70000/x",
        "rtsp://ca m/x",
        "rtsp://cam/x\ny",
        "rtsp://169.254.169.254/latest",
        "http://169.254.1.1/",
        "http://u:p@169.254.169.254/",
        "http://[fe80::1]/",
        "http://[fe80::1%eth0]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "file:///etc/passwd",
        "concat:a|b",
        "tcp://cam:80",
        "webcam:x",
    ],
)
def test_an_address_that_could_do_harm_or_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(StreamRefused):
        parse_address(url, OPEN)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("rtsp://10.1.2.3/x", True),
        ("rtsp://10.2.2.3/x", False),
        ("rtsp://[fd00::7]/x", True),
        ("rtsp://[2001:db8::1]/x", False),
        ("http://127.0.0.1/x", False),
        ("rtsp://name/x", True),
    ],
)
def test_networks_narrow_what_is_reached(url: str, allowed: bool) -> None:
    if allowed:
        parse_address(url, NARROW)
    else:
        with pytest.raises(StreamRefused):
            parse_address(url, NARROW)


@pytest.mark.parametrize(("url", "index"), [("0", "0"), ("webcam:0", "0"), ("webcam://2", "2")])
def test_a_webcam_is_named_by_its_index(url: str, index: str) -> None:
    address = parse_address(url, OPEN)
    assert (address.scheme, address.target) == ("webcam", index)


def test_a_scheme_can_be_switched_off() -> None:
    with pytest.raises(StreamRefused):
        parse_address("0", StreamSettings(schemes=("rtsp",)))
    with pytest.raises(StreamRefused):
        parse_address("http://cam/x", StreamSettings(schemes=("rtsp",)))


def test_files_are_opened_below_their_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"")
    (root / "link.mp4").symlink_to(outside)
    settings = StreamSettings(file_root=root)
    assert parse_address(f"file://{root}/a%20b.mp4", settings).target == str(root.resolve() / "a b.mp4")
    for path in (outside, root / ".." / "outside.mp4", root / "link.mp4", "relative.mp4"):
        with pytest.raises(StreamRefused):
            parse_address(f"file://{path}", settings)
