"""The heartbeat, and `ledger notify --test`: a real server, and a real command."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.inside import call
from tests.world import World


class Server(http.server.HTTPServer):
    """Keeps the paths that it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []
        self.status = 200

    def taken(self) -> list[str]:
        paths, self.paths = self.paths, []
        return paths

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def night(sqlite_world: World) -> World:
    sqlite_world.simulate(scale=0.02, scenario=("pdi",))
    return sqlite_world


def test_a_url_is_asked_at_start_success_and_failure(night, server):
    night.data["notify"]["heartbeat"] = f"{server.url}/a-b/"
    assert call(night, "catch-up").returncode == 0
    assert server.taken() == ["/a-b/start", "/a-b"]
    (night.folder / "archive").rename(night.folder / "elsewhere")
    assert call(night, "catch-up").returncode == 2
    assert server.taken() == ["/a-b/start", "/a-b/fail"]
    night.data["database"]["url"] = f"sqlite:///{night.folder}/none.db"
    night.data["notify"]["heartbeat"] = f"{server.url}/a-b?create=1"
    assert call(night, "catch-up").returncode == 2
    assert server.taken() == ["/a-b/start?create=1", "/a-b/fail?create=1"]


def test_a_command_is_called_with_one_more_argument(night):
    told = night.folder / "told"
    night.data["notify"]["heartbeat"] = ["sh", "-c", f'echo "$*" >> {told}', "sh", "-q"]
    assert call(night, "catch-up").returncode == 0
    assert told.read_text() == "-q start\n-q success\n"
    (night.folder / "archive").rename(night.folder / "elsewhere")
    assert call(night, "catch-up").returncode == 2
    assert told.read_text().splitlines()[2:] == ["-q start", "-q failure"]


@pytest.mark.parametrize("heartbeat", ["refused", "http://127.0.0.1:1/secret", ["/nowhere/tell"], ["false"]])
def test_what_fails_there_is_said_and_changes_nothing(night, server, heartbeat):
    server.status = 503
    night.data["notify"]["heartbeat"] = f"{server.url}/secret" if heartbeat == "refused" else heartbeat
    done = call(night, "catch-up")
    assert done.returncode == 0
    complaints = done.stderr.splitlines()
    assert [line.split(" not sent")[0] for line in complaints] == [
        "ledger: heartbeat (start)",
        "ledger: heartbeat (success)",
    ]
    text = (night.folder / "ledger.log").read_text()
    assert text.count(" ERROR   heartbeat (") == 2
    assert "secret" not in text + done.stderr


# the test that a person asks for


def test_a_test_goes_out_in_every_way(night, server):
    told = night.folder / "told"
    night.data["notify"] |= {"command": ["sh", "-c", f"cat > {told}"], "heartbeat": f"{server.url}/a"}
    done = call(night, "notify", "--test")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "command    sh: sent\nheartbeat  127.0.0.1: sent\n"
    assert "This is a test" in told.read_text()
    assert server.taken() == ["/a/start", "/a"]
    assert night.query("SELECT count(*) FROM entry") == [(0,)]


def test_a_way_that_fails_is_said(night, server):
    server.status = 404
    night.data["notify"] |= {"command": ["true"], "heartbeat": f"{server.url}/a"}
    done = call(night, "notify", "--test", "--json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert first == {"way": "command", "to": "true", "error": None}
    assert "404" in second["error"]


def test_nothing_to_test(night):
    done = call(night, "notify", "--test")
    assert (done.returncode, "notify.heartbeat" in done.stderr) == (2, True)
    assert call(night, "notify").returncode == 2
