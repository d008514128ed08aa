"""Streams that break off, come back, never answer, or are not there: a server of our own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from films import number_of, write_film

from yolox_deploy.errors import ModelWarning, SourceError
from yolox_deploy.sources import find_sources, live
from yolox_deploy.sources.live import Patience, without_password

pytest.importorskip("av")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n"
FRAMES = 8


class Server:
    """Answers each connection with the next answer, and then refuses all further ones."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.asked: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        for answer in self.answers:
            connection, _ = self.socket.accept()
            with connection:
                self.asked.append(connection.recv(1 << 16))
                connection.sendall(answer)
        self.socket.close()

    def __str__(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A stream without an end that anybody knows."""
    path = tmp_path_factory.mktemp("stream") / "a.ts"
    return write_film(path, [i / 25 for i in range(FRAMES)]).read_bytes()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect again without much delay, and end after four times in vain."""
    monkeypatch.setattr(live, "BACK_OFF", (0.01, 0.01, 0.01, 0.01, 1e9))
    return


def frames_of(place: object, **patience: float) -> list[Any]:
    (source,) = find_sources([str(place)], patience=Patience(**patience))
    assert source.live
    return list(source.frames())


def test_a_stream_that_breaks_off_is_connected_to_again(stream: bytes) -> None:
    cut = HEAD + b"\r\n" + stream[: len(stream) * 2 // 3]
    server = Server([cut, HEAD + b"\r\n" + stream, b"", HEAD + b"\r\n" + stream])
    with pytest.warns(ModelWarning) as notes:
        found = frames_of(server)
    texts = [str(note.message) for note in notes]
    assert sum("broke off" in text and "connecting again" in text for text in texts) >= 4
    assert texts[-1].startswith(f"{server} is taken as ended after {len(found)} frames (")
    assert [frame.index for frame in found] == list(range(len(found)))
    assert 2 * FRAMES <= len(found) < 3 * FRAMES
    times = [frame.time for frame in found]
    assert times == sorted(times)
    assert number_of(found[-1].image) == FRAMES - 1


def test_without_patience_a_stream_ends_where_it_breaks_off(stream: bytes) -> None:
    server = Server([HEAD + b"\r\n" + stream])
    with pytest.warns(ModelWarning, match="taken as ended after 8 frames"):
        found = frames_of(server, reconnect=0)
    assert len(found) == FRAMES


def test_a_recording_at_an_address_is_read_once_with_its_own_times(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", options={"movflags": "faststart"}).read_bytes()
    length = b"Content-Length: %d\r\n\r\n" % len(film)
    found = frames_of(Server([HEAD + length + film] * 3))
    assert [number_of(frame.image) for frame in found] == list(range(8))
    assert found[5].time == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize(
    ("answers", "timeout", "message"),
    [
        ([], 10, "refused"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], 10, "404"),
        ([HEAD + b"\r\nno video"], 10, "cannot be read"),
        (None, 0.2, "no answer in time"),
    ],
)
def test_what_never_answers_is_one_line(
    answers: list[bytes] | None, timeout: float, message: str
) -> None:
    listening = Server(answers or [])
    if not answers:
        listening.thread.join(60)
    silent = socket.create_server(("127.0.0.1", 0))
    port = listening.port if answers is None else silent.getsockname()[1]
    with silent:
        place: object = listening
        if answers is None:
            place = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}/{port}"
        with pytest.raises(SourceError, match=message) as caught:
            frames_of(place, timeout=timeout)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_camera_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"camera 97: there is no /dev/video97; there is "):
        frames_of(97)


def test_passwords_are_shown_nowhere() -> None:
    assert without_password("rtsp://me:p@ss@camera/1?a=b@c") == "rtsp://camera/1?a=b@c"
    (source,) = find_sources(["rtsp://me:secret@camera.local:554/one"])
    assert "secret" not in f"{source!r} {source.name} {source.stem}"
    assert source.stem == "rtsp_camera_local_554_one"
