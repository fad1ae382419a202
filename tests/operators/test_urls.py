"""Credentials are hidden in every form that they come in; ids are fit as file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundstream.operators.urls import mask, stream_id_for
from groundstream.operators.urls import shown as quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://bob:s3cret@10.0.0.5:554/cam", "rtsp://***@10.0.0.5:554/cam"),
        ("rtsp://s3cret@host/cam", "rtsp://***@host/cam"),
        ("rtsp://bob:s3cret/s3cret@host/cam", "rtsp://***@host/cam"),
        ("rtsp://bob:s3cret@s3cret/x@10.0.0.5/cam", "rtsp://***@10.0.0.5/cam"),
        ("rtsp://bob:s3cret?s3cret#@host/cam", "rtsp://***@host/cam"),
        ("rtsp://bob:s3'cret@host/cam", "rtsp://***@host/cam"),
        ("rtsp://10.0.0.5:554/stream@1", "rtsp://10.0.0.5:554/stream@1"),
        ("rtsp://[::1]:8554/stream@1", "rtsp://[::1]:8554/stream@1"),
        (
            "http://h.org/live.m3u8?X-Amz-Signature=s3cret&n=1",
            "http://h.org/live.m3u8?X-Amz-Signature=***&n=1",
        ),
        ("http://h.org/a?access_token=s3c/ret==", "http://h.org/a?access_token=***"),
        ("rtsp://h/user=s3cret&password=s3cret&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        (
            "[Errno 5] Input/output error: 'rtsp://a:s3cret@h/x'",
            "[Errno 5] Input/output error: 'rtsp://***@h/x'",
        ),
        ('["rtsp://a:s3cret@h.org/","rtsp://b:s3cret@h.org/"]', '["rtsp://***@h.org/","rtsp://***@h.org/"]'),
        ("mail bob@example.org, no address", "mail bob@example.org, no address"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    assert mask(text) == shown
    assert "s3c" not in mask(text)
    assert mask(shown) == shown


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("videos/street.mp4", "street"),
        ("videos/狗 跑.mp4", "狗-跑"),
        ("file:///videos/a%20b.mp4", "a-b"),
        ("rtsp://bob:s3cret@10.0.0.5:554/Streaming/Channels/101", "10.0.0.5-554-Streaming-Channels-101"),
        ("rtsp://cam/user=s3cret&password=s3cret&channel=1", "cam-channel-1"),
        ("rtsp://cam/realmonitor?channel=2&subtype=0", "cam-realmonitor-channel-2-subtype-0"),
        ("https://h.org/live.m3u8?token=s3cret", "h.org-live.m3u8"),
        ("0", "webcam-0"),
        ("webcam:Front Door", "webcam-Front-Door"),
        ("/dev/video2", "video2"),
        ("rtsp://***", "stream"),
    ],
)
def test_stream_ids(uri: str, name: str) -> None:
    assert stream_id_for(uri) == name


def test_folders_and_globs_are_named_by_the_folder(tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    shots.mkdir()
    assert stream_id_for(str(shots)) == "shots"
    assert stream_id_for(str(shots / "*.png")) == "shots"


def test_long_addresses_give_short_distinct_ids() -> None:
    first, second = (stream_id_for(f"rtsp://cam/{'x' * 200}{end}") for end in "ab")
    assert first != second
    assert len(first) == len(second) == 80


def test_what_is_quoted_is_masked_before_it_is_cut() -> None:
    long = f"rtsp://admin:{'s3cret' * 20}@gate/1"
    assert quoted([long]) == "['rtsp://***@gate/1']"
    assert quoted("x" * 99) == "'" + "x" * 59
