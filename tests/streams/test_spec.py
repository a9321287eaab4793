"""What names a source."""

from siwatsystem.streams.spec import SourceSpec


def test_equal_addresses_share_a_source_and_intervals_tell_them_apart() -> None:
    assert SourceSpec("rtsp://a/x") == SourceSpec("rtsp://a/x")
    assert SourceSpec("http://a/x", 500) != SourceSpec("http://a/x", 1000)
    assert SourceSpec("http://a/x", 500).label != SourceSpec("http://a/x", 1000).label


def test_neither_the_label_nor_the_text_tells_a_password() -> None:
    spec = SourceSpec("rtsp://user:s3cret@cam/x?token=t0ken", None)
    for text in (repr(spec), str(spec), spec.label, spec.redacted):
        assert "s3cret" not in text
        assert "t0ken" not in text
    assert "cam/x" in spec.redacted
