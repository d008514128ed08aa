"""Published weights by name, fetched from a server of our own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.errors import DownloadError, InputFileError, ModelWarning, OutputError
from yolox_deploy.files import cache_folder, seal
from yolox_deploy.weights import PUBLISHED, fetch_weights, find_model


@dataclass
class Server:
    """What the server shall answer, and what it was asked."""

    url: str = ""
    content: bytes = b""
    status: int = 200
    ranges: bool = True
    cut_after: int | None = None
    state_length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            resumed = bool(wanted) and state.ranges and state.status == 200
            if resumed and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:] if resumed else state.content
            self.send_response(206 if resumed else state.status)
            if state.state_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut, state.cut_after = state.cut_after, None
            self.wfile.write(body[:cut])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


@pytest.fixture
def nano_bytes(nano_pth: Path) -> bytes:
    return nano_pth.read_bytes()


def kept() -> list[str]:
    files = sorted(p.name for p in (cache_folder() / "weights").iterdir())
    return [name for name in files if not name.endswith(".sha256")]


def test_weights_are_fetched_once(server: Server, nano_bytes: bytes) -> None:
    server.content = nano_bytes
    seen: list[tuple[int, int | None]] = []
    path = fetch_weights("yolox_nano", lambda done, total: seen.append((done, total)), server.url)
    assert path.read_bytes() == nano_bytes
    assert kept() == ["yolox_nano.pth"]
    assert server.asked == [("/yolox_nano.pth", None)]
    assert seen[-1] == (len(nano_bytes), len(nano_bytes))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert fetch_weights("yolox_nano", source=server.url) == path
    assert len(server.asked) == 1


def test_weights_that_were_damaged_are_fetched_again(server: Server, nano_bytes: bytes) -> None:
    server.content = nano_bytes
    path = fetch_weights("yolox_nano", source=server.url)
    path.write_bytes(nano_bytes[:5000])
    with pytest.warns(ModelWarning, match="it is fetched again"):
        assert fetch_weights("yolox_nano", source=server.url).read_bytes() == nano_bytes
    assert len(server.asked) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_transfer_is_resumed_or_begun_again(
    ranges: bool, server: Server, nano_bytes: bytes
) -> None:
    server.content, server.cut_after, server.ranges = nano_bytes, 1_000_000, ranges
    with pytest.raises(DownloadError, match="1000000 of"):
        fetch_weights("yolox_nano", source=server.url)
    assert kept() == ["yolox_nano.pth.part"]
    path = fetch_weights("yolox_nano", source=server.url)
    assert server.asked[1] == ("/yolox_nano.pth", "bytes=1000000-")
    assert path.read_bytes() == nano_bytes
    assert kept() == ["yolox_nano.pth"]


def test_a_cut_without_a_stated_length_is_noticed(server: Server, nano_bytes: bytes) -> None:
    server.content, server.cut_after, server.state_length = nano_bytes, 1_000_000, False
    with pytest.raises(DownloadError):
        fetch_weights("yolox_nano", source=server.url)
    assert "yolox_nano.pth" not in kept()


def test_a_part_that_is_complete_is_taken(server: Server, nano_bytes: bytes) -> None:
    server.content = nano_bytes
    folder = cache_folder() / "weights"
    folder.mkdir(parents=True)
    (folder / "yolox_nano.pth.part").write_bytes(nano_bytes)
    assert fetch_weights("yolox_nano", source=server.url).read_bytes() == nano_bytes


@pytest.mark.parametrize("junk", [b"x" * 5_000_000, b"x" * 1000], ids=["too long", "another file"])
def test_a_part_of_something_else_is_not_kept(
    junk: bytes, server: Server, nano_bytes: bytes
) -> None:
    server.content = nano_bytes
    folder = cache_folder() / "weights"
    folder.mkdir(parents=True)
    (folder / "yolox_nano.pth.part").write_bytes(junk)
    with pytest.raises(DownloadError):
        fetch_weights("yolox_nano", source=server.url)
    assert kept() == []
    assert fetch_weights("yolox_nano", source=server.url).read_bytes() == nano_bytes


def test_weights_of_another_architecture_are_refused(server: Server, nano_bytes: bytes) -> None:
    server.content = nano_bytes
    with pytest.raises(DownloadError, match="YOLOX nano"):
        fetch_weights("yolox_s", source=server.url)
    assert kept() == []


def test_a_page_instead_of_weights_is_refused(server: Server) -> None:
    server.content = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    with pytest.raises(DownloadError, match="no checkpoint"):
        fetch_weights("yolox_nano", source=server.url)
    assert kept() == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_the_answer_of_the_server_is_reported(status: int, server: Server) -> None:
    server.status, server.content = status, b"<html>error</html>"
    with pytest.raises(DownloadError, match=str(status)) as caught:
        fetch_weights("yolox_nano", source=server.url)
    assert f"{server.url}/yolox_nano.pth" in str(caught.value)
    assert kept() == []


def test_without_a_network_it_says_so_and_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(DownloadError, match="network") as caught:
        fetch_weights("yolox_nano", source=f"http://127.0.0.1:{port}")
    text = str(caught.value)
    assert str(cache_folder() / "weights" / "yolox_nano.pth") in text
    assert f"http://127.0.0.1:{port}/yolox_nano.pth" in text


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nbroken off",
    ],
    ids=["no http", "hangs up", "broken chunk"],
)
def test_a_server_that_breaks_the_protocol_is_a_download_error(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DownloadError):
            fetch_weights("yolox_nano", source=f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_a_cache_that_cannot_be_written_is_an_output_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("YOLOX_DEPLOY_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="file"):
        fetch_weights("yolox_nano", source=server.url)
    assert server.asked == []


def test_every_architecture_has_published_weights() -> None:
    assert {
        **{f"yolox_{name}": name for name in ("nano", "tiny", "s", "m", "l", "x")},
        "yolox_darknet": "darknet53",
    } == PUBLISHED
    assert set(PUBLISHED.values()) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ["yolox_nano", "yolox-nano", "YOLOX_Nano", "yolox_nano.pth"])
def test_a_name_gives_the_cached_file(name: str, nano_bytes: bytes) -> None:
    folder = cache_folder() / "weights"
    folder.mkdir(parents=True)
    (folder / "yolox_nano.pth").write_bytes(nano_bytes)
    assert find_model(name) == folder / "yolox_nano.pth"


@pytest.mark.parametrize("name", ["yolov3", "yolox_darknet53", "yolox-darknet"])
def test_darknet_has_its_other_names(name: str) -> None:
    folder = cache_folder() / "weights"
    folder.mkdir(parents=True)
    (folder / "yolox_darknet.pth").write_bytes(b"x")
    seal(folder / "yolox_darknet.pth", [folder / "yolox_darknet.pth"])
    assert find_model(name).name == "yolox_darknet.pth"


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolox_nano").write_bytes(b"x")
    assert find_model("yolox_nano") == Path("yolox_nano")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("yolox_nan", "did you mean 'yolox_nano'"),
        ("missing.onnx", "no such file"),
        ("folder/yolox_nano", "no such file"),
        ("folder", "a folder"),
        ("", None),
        ("x" * 300, "no such file"),
        ("a\0b", "no such file"),
    ],
)
def test_neither_a_file_nor_a_name_is_refused(
    given: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(InputFileError, match=message):
        find_model(given)
