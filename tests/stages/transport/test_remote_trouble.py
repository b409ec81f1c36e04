"""A destination on another host that is not fit, not reached, or does not do what it is asked for."""

import dataclasses
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from stages.base import BadInput, Retry
from stages.transport import remote_folder, rsync
from stages.transport.ssh import Shell
from tests.stages.test_transferred import DATE, base, job, only, tree
from tests.stages.transport.test_remote import forward, host, reverse, there, verify, with_more

__all__ = ["base", "host", "job", "there"]  # fixtures

#: What has to be on a host beside rsync.
TOOLS = (
    "sh",
    "setpriv",
    "openssl",
    "sync",
    "dd",
    "wc",
    "tr",
    "cut",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "df",
    "find",
    "od",
)


# who may not do everything


@pytest.fixture
def plain(there, sshd):
    """The job, at a place that others than root may get to and write into, and a host that is theirs."""
    with tempfile.TemporaryDirectory(prefix="ledger-open-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield dataclasses.replace(
            there, destination=folder / DATE, host=dataclasses.replace(there.host, identity_file=sshd.plain_file)
        )


def test_files_that_may_not_be_read_fail_alone(plain):
    """A cube, and another one's txt."""
    plain = with_more(plain, 4)
    assert not forward(plain).failures
    folder = plain.destination / "vgen2"
    _, cube, txt, missing = plain.products
    paths = [folder / cube.files[0], folder / txt.files[1]]
    for path in paths:
        path.chmod(0)
    (folder / missing.files[0]).unlink()
    outcome = verify(plain)
    assert list(outcome.failures) == [product.identity for product in (cube, txt, missing)]
    assert all("Permission denied" in outcome.failures[product.identity] for product in (cube, txt))
    for act in (forward, reverse):
        assert list(act(plain).failures) == [cube.identity, txt.identity]
    for path in paths:
        path.chmod(0o600)
    assert not forward(plain).failures


def test_folder_that_may_not_be_written_is_tried_again(plain):
    plain.destination.parent.chmod(0o555)
    with pytest.raises(Retry, match=r"[Pp]ermission denied"):
        forward(plain)


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("PATH=$(pwd)/none", "no rsync on this host's PATH"),
        ("echo Welcome to the archive", "a login prints 'Welcome to the archive'"),
    ],
)
def test_a_host_that_is_not_fit_is_told_so(plain, sshd, login, told):
    only_sh = plain.destination.parent / "bin"
    only_sh.mkdir()
    for name in TOOLS:
        (only_sh / name).symlink_to(shutil.which(name))
    sshd.login.write_text(login.replace("$(pwd)/none", str(only_sh)) + "\n")
    try:
        with pytest.raises(Retry, match=told):
            forward(plain)
    finally:
        sshd.login.write_text("")
    assert not list(plain.destination.rglob("*.fz"))
    assert not forward(plain).failures


# trouble


def test_missing_base_is_refused_and_not_made(there, base):
    base.rmdir()
    with pytest.raises(BadInput, match="expected an existing one"):
        forward(there)
    assert not base.exists()


def test_host_of_another_key_is_not_spoken_to(there, base, tmp_path):
    other = tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    other.write_text(f"[127.0.0.1]:{there.host.port} {key}\n")
    careless = ("-o", "StrictHostKeyChecking=no", *there.host.options)
    with pytest.raises(Retry, match="no connection"):
        forward(dataclasses.replace(there, host=dataclasses.replace(there.host, known_hosts=other, options=careless)))
    assert tree(base) == {}


def test_unknown_host_is_not_spoken_to(there, base, tmp_path):
    unknown = dataclasses.replace(there.host, known_hosts=tmp_path / "none")
    with pytest.raises(Retry, match=r"[Hh]ost key verification failed"):
        forward(dataclasses.replace(there, host=unknown))
    assert tree(base) == {}


@pytest.mark.parametrize("name", ["identity_file", "known_hosts"])
def test_a_file_of_ssh_that_is_not_there_is_told(there, tmp_path, name):
    host = dataclasses.replace(there.host, **{name: tmp_path / "none"})
    with pytest.raises(Retry) as caught:
        forward(dataclasses.replace(there, host=host))
    assert f"transfer.ssh.{name} '{tmp_path / 'none'}' does not exist; expected a file" in str(caught.value)


def test_the_command_to_try_by_hand_is_told_whole(there, tmp_path):
    with pytest.raises(Retry) as caught:
        forward(dataclasses.replace(there, host=dataclasses.replace(there.host, known_hosts=tmp_path / "none")))
    by_hand = str(caught.value).split("`")[1]
    done = subprocess.run(["sh", "-c", by_hand], capture_output=True, text=True, check=False)
    assert (done.returncode, "verification failed" in done.stderr) == (255, True), done
    right = by_hand.replace(str(tmp_path / "none"), str(there.host.known_hosts))
    assert subprocess.run(["sh", "-c", right], check=False, timeout=30).returncode == 0


def test_host_that_does_not_answer_is_tried_again(there):
    nobody = dataclasses.replace(there.host, port=1)
    with pytest.raises(Retry, match=r"[Cc]onnection refused"):
        forward(dataclasses.replace(there, host=nobody))


def test_connection_that_breaks_is_told(host):
    with Shell(host) as shell:
        shell._write("kill -9 $$\n")
        with pytest.raises(Retry, match="no connection"):
            shell.ask([("look", "/")])


def test_rsync_that_fails_leaves_no_name(there, base, monkeypatch):
    monkeypatch.setattr(rsync, "RSYNC", (*rsync.RSYNC, "--rsync-path=/nowhere/rsync"))
    with pytest.raises(Retry, match="rsync ended with"):
        forward(there)
    assert not [path for path in base.rglob("*") if path.is_file()]


def test_rsync_that_brings_nothing_proves_nothing(there, base, monkeypatch):
    monkeypatch.setattr(rsync, "RSYNC", ("true",))
    outcome = forward(there)
    assert not outcome.evidence
    assert len(outcome.failures) == 3
    assert tree(base) == {}


def test_host_without_a_tool_proves_nothing(there, base, tmp_path, monkeypatch):
    from stages.transport import ssh  # noqa: PLC0415

    monkeypatch.setattr(ssh, "FUNCTIONS", ssh.FUNCTIONS.replace("in $empty*)", "in never)"))
    with pytest.raises(Retry, match="no openssl, sha256sum or shasum"):
        forward(there)
    assert not [path for path in base.rglob("VMPA*") if not path.parent.parent.name.startswith(remote_folder.INCOMING)]


def test_too_little_room_is_told(there):
    product = there.products[0]
    with (there.folder / product.files[0]).open("r+b") as file:
        file.truncate(1 << 43)  # sparse
    with pytest.raises(Retry, match="bytes needed"):
        forward(only(there, 0))
