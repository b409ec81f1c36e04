"""The host where nights are and the host that fetches their products, with one database."""

import getpass
import os
import sys

from tests.world import World

ROWS = (
    "SELECT name, state, sha256, timing_sha256, size_bytes, quarantine_reason FROM file ORDER BY name",
    "SELECT host, path, sha256, size_bytes FROM copy WHERE withdrawn_us IS NULL ORDER BY path",
    "SELECT name, sha256 FROM manifest WHERE withdrawn_us IS NULL ORDER BY name",
    "SELECT frame_id, status FROM frame_id ORDER BY frame_id",
)


#: Paths under which a process may open nothing, while a test says so.
watched: list[str] = []


touched: list[str] = []


def _watch(event, arguments):
    if watched and event in ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir"):
        touched.extend(
            str(path)
            for path in arguments[:2]
            if isinstance(path, str | os.PathLike) and str(path).startswith(watched[0])
        )


sys.addaudithook(_watch)


class Pair:
    """The world where nights are, and that of the host that fetches from it."""

    def __init__(self, folder, url, server):
        self.here = World(folder / "source", url, is_new=True)
        self.here.send_afar(server)
        user = getpass.getuser()
        self.here.data["engineering"]["destination"] = f"{user}@127.0.0.1:{folder}/source/destination/engineering"
        self.there = World(folder / "archive", url)
        for name in ("archive", "engineering"):
            self.there.data[name] |= {
                "root": str(self.here.folder / name),
                "destination": self.here.data[name]["destination"],
            }
        self.there.data["transfer"] = {**self.here.data["transfer"]}
        self.pull()

    def pull(self):
        self.here.data["transfer"]["direction"] = "pull"
        self.there.data["transfer"] |= {"direction": "pull", "source": f"{getpass.getuser()}@127.0.0.1"}

    def fetch(self, **options):
        """Advance the night on the host that fetches, and see that it keeps its hands off the nights."""
        watched.append(str(self.here.folder / "archive"))
        try:
            return self.there.advance(**options)
        finally:
            watched.clear()
            assert not touched, touched
            touched.clear()

    def copies(self):
        """Return what lies at the destination."""
        return self.here.tree(self.here.destination)

    def rows(self):
        return [self.here.query(sql) for sql in ROWS]

    def close(self):
        self.here.close()
        self.there.close()
