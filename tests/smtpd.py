"""A real mail server, run as a process of its own: `python -m tests.smtpd FOLDER SECURITY BEHAVIOUR`.

It writes each mail that it takes to FOLDER, and says its port once it listens. Only who logs in as ``vampires`` with
the password ``open sesame`` may send, except without security.
"""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = "vampires", "open sesame"


class Handler:
    def __init__(self, folder: Path, behaviour: str) -> None:
        self.folder = folder
        self.behaviour = behaviour

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, to: str, _options: Any) -> str:  # noqa: N802
        if self.behaviour == "refuses" or (self.behaviour == "refuses one" and to.startswith("nobody")):
            return "550 no such user"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.behaviour == "rejects":
            return "554 not today"
        n = len(list(self.folder.iterdir()))
        (self.folder / f"{n}.eml").write_bytes(envelope.content)
        if self.behaviour == "hangs up":
            server.transport.abort()
        return "250 taken"


def serve(folder: Path, security: str, behaviour: str) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(str(folder.parent / "ca.pem"))
    options: dict[str, Any] = {"hostname": "localhost", "port": 0}
    if security == "tls":
        options["ssl_context"] = context
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if security != "none":
        options |= {"auth_required": True, "auth_require_tls": security == "starttls", "authenticator": _authenticate}

    class Local(Controller):
        def _trigger_server(self) -> None:
            """Know the port that the system chose before anybody connects."""
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    controller = Local(Handler(folder, behaviour), **options)
    controller.start()
    print(controller.port, flush=True)  # noqa: T201
    sys.stdin.read()  # until whoever started this is gone
    controller.stop()


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    is_known = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_known, handled=is_known)


@contextmanager
def running_smtpd(folder: Path, security: str = "starttls", behaviour: str = "takes") -> Iterator[int]:
    """Start a server, and stop it at the end; yield its port."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.smtpd", str(folder), security, behaviour]
    checkout = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=checkout, env=environment
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
