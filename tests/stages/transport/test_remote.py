"""A destination on another host: a real sshd, a real rsync, and whatever may lie there."""

import dataclasses
import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from stages import manifested, transferred
from stages.base import TEMPORARY_PREFIX, BadInput, Host, Irreversible, Job, Retry
from stages.transferred import Parameters
from stages.transport import remote_folder, rsync
from stages.transport.ssh import Shell
from tests.stages.test_transferred import DATE, INSTRUMENT, base, job, make_product, only, tree, write_sums

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

DAMAGES = {
    "corrupt": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "missing": lambda path: path.unlink(),
    "same size and time": lambda path: replace_bytes(path),  # noqa: PLW0108  it is defined below
}


def replace_bytes(path):
    """Other bytes of the same size, with the same time."""
    status = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


__all__ = ["base", "job"]  # fixtures


@pytest.fixture
def host(sshd):
    options = ("-T", "-c", "aes128-ctr", "-o", "Compression=no", "-o", "ConnectTimeout=10", "-F", "none")
    return Host("127.0.0.1", getpass.getuser(), sshd.port, sshd.identity_file, sshd.known_hosts, options)


@pytest.fixture
def there(job, host):
    return dataclasses.replace(job, host=host)


def forward(job, **params):
    return transferred.forward(job=job, params=Parameters(**params))


def reverse(job, **params):
    return transferred.reverse(job=job, params=Parameters(**params))


def verify(job):
    return transferred.verify_copies(job=job, params=Parameters())


# there and back


def test_it_is_what_a_local_destination_would_be(there, base, tmp_path):
    write_sums(there)
    assert not forward(there, also=("*.log",)).failures
    (tmp_path / "local").mkdir()
    local = dataclasses.replace(there, host=None, destination=tmp_path / "local" / DATE)
    assert not forward(local, also=("*.log",)).failures
    assert tree(base) == tree(tmp_path / "local")
    times = [
        {path.name: path.stat().st_mtime_ns for path in root.rglob("VMPA*")} for root in (base, tmp_path / "local")
    ]
    assert times[0] == times[1]


def test_evidence_is_of_the_bytes_there(there):
    outcome = forward(there)
    assert [evidence.sha256 for evidence in outcome.evidence] == [product.sha256 for product in there.products]
    for evidence, product in zip(outcome.evidence, there.products, strict=True):
        assert (evidence.host, evidence.size_bytes) == ("127.0.0.1", product.size_bytes)
        assert evidence.path == str(there.destination / "vgen2" / product.files[0])
        assert evidence.tool in {"openssl dgst", "sha256sum", "shasum"}


def test_sums_satisfy_coreutils_there(there, base):
    write_sums(there)
    forward(there)
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=base / DATE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.count(": OK\n") == 7


def test_repeating_brings_nothing(there, base, monkeypatch):
    first = forward(there)
    status = {path: path.stat().st_ino for path in base.rglob("VMPA*")}
    monkeypatch.setattr(rsync, "RSYNC", ("false",))
    again = forward(there)
    assert again.evidence == first.evidence
    assert {path: path.stat().st_ino for path in base.rglob("VMPA*")} == status


def test_way_back_leaves_what_was_there(there, base):
    before = tree(base)
    write_sums(there)
    forward(there, also=("*.log",))
    outcome = reverse(there, also=("*.log",))
    assert set(outcome.withdrawn) == {product.identity for product in there.products}
    assert tree(base) == before
    assert not reverse(there, also=("*.log",)).failures


def test_odd_names_are_names(tmp_path, host):
    odd = tmp_path / "a b'c\"d$(touch pwned)\n;e" / DATE
    night = tmp_path / "root" / DATE
    (night / "vgen2").mkdir(parents=True)
    odd.parent.mkdir()
    products = (make_product(night / "vgen2", 1),)
    there = Job(night, DATE, night / "vgen2", INSTRUMENT, products, destination=odd, host=host)
    (night / "it's odd\n.log").write_text("x")
    outcome = forward(there, also=("*.log",))
    assert not outcome.failures
    assert (odd / "it's odd\n.log").read_text() == "x"
    assert reverse(there, also=("*.log",)).withdrawn
    assert list(odd.parent.iterdir()) == []


# what lies there


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_copy_is_found_and_copied_again(there, base, damage):
    forward(there)
    path = base / DATE / "vgen2" / there.products[1].files[0]
    DAMAGES[damage](path)
    found = verify(there)
    assert list(found.failures) == [there.products[1].identity]
    assert len(found.evidence) == 2
    assert not forward(there).failures
    assert not verify(there).failures


def test_txt_is_proven_too(there, base):
    forward(there)
    replace_bytes(base / DATE / "vgen2" / there.products[0].files[1])
    assert list(verify(there).failures) == [there.products[0].identity]


def test_what_somebody_else_put_there_is_left(there, base):
    strange = base / DATE / "vgen2" / there.products[0].files[0]
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"another")
    outcome = forward(dataclasses.replace(there, placed=frozenset()))
    assert list(outcome.failures) == [there.products[0].identity]
    assert strange.read_bytes() == b"another"
    assert len(outcome.evidence) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_copy_that_is_not_ours_is_not_withdrawn(there, base, which):
    forward(there)
    path = base / DATE / "vgen2" / there.products[2].files[which]
    replace_bytes(path)
    before = {path.name for path in path.parent.glob(f"{there.products[2].name}*")}
    outcome = reverse(there)
    assert list(outcome.failures) == [there.products[2].identity]
    assert {path.name for path in path.parent.glob(f"{there.products[2].name}*")} == before


def test_only_copy_is_not_withdrawn(there, base):
    forward(there)
    (there.folder / there.products[0].files[0]).unlink()
    assert list(reverse(there).failures) == [there.products[0].identity]
    assert (base / DATE / "vgen2" / there.products[0].files[0]).exists()


def test_source_of_other_bytes_is_not_given_a_name(there, base):
    replace_bytes(there.folder / there.products[0].files[0])
    outcome = forward(there)
    assert "changed since it was compressed" in outcome.failures[there.products[0].identity]
    assert not (base / DATE / "vgen2" / there.products[0].files[0]).exists()
    assert len(outcome.evidence) == 2
    assert not list((base / DATE).glob(f"{TEMPORARY_PREFIX}*"))


def test_a_further_file_that_cannot_be_read_fails_its_product_alone(there):
    further = there.folder / f"{there.products[0].name}.png"
    further.mkdir()  # in place of a file
    products = (dataclasses.replace(there.products[0], files=(*there.products[0].files, further.name)),)
    outcome = forward(dataclasses.replace(there, products=(*products, *there.products[1:])))
    assert list(outcome.failures) == [there.products[0].identity]
    assert len(outcome.evidence) == 2


def test_missing_source_fails_alone(there):
    (there.folder / there.products[0].files[0]).unlink()
    assert list(forward(there).failures) == [there.products[0].identity]


def test_what_an_earlier_run_brought_is_taken_over(there, base, monkeypatch):
    left = base / DATE / f"{remote_folder.INCOMING}0123"
    (left / "vgen2").mkdir(parents=True)
    name = there.products[0].files[0]
    shutil.copy2(there.folder / name, left / "vgen2" / name)
    inode = (left / "vgen2" / name).stat().st_ino
    assert not forward(there).failures
    assert (base / DATE / "vgen2" / name).stat().st_ino == inode
    assert not left.exists()


def test_half_of_a_file_is_not_taken_for_it(there, base):
    left = base / DATE / f"{remote_folder.INCOMING}0123"
    (left / "vgen2").mkdir(parents=True)
    name = there.products[0].files[0]
    content = (there.folder / name).read_bytes()
    (left / "vgen2" / name).write_bytes(content[: len(content) // 2])
    assert not forward(there).failures
    assert (base / DATE / "vgen2" / name).read_bytes() == content


def test_bytes_that_rsync_takes_for_the_same_are_copied_with_force(there, base):
    left = base / DATE / f"{remote_folder.INCOMING}0123"
    (left / "vgen2").mkdir(parents=True)
    name = there.products[0].files[0]
    shutil.copy2(there.folder / name, left / "vgen2" / name)
    replace_bytes(left / "vgen2" / name)
    assert not forward(there).failures
    assert (base / DATE / "vgen2" / name).read_bytes() == (there.folder / name).read_bytes()


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


@pytest.mark.parametrize("n", [0, 1])
def test_a_file_that_may_not_be_read_fails_alone(plain, n):
    assert not forward(plain).failures
    path = plain.destination / "vgen2" / plain.products[1].files[n]
    path.chmod(0)
    (plain.destination / "vgen2" / plain.products[2].files[0]).unlink()
    outcome = verify(plain)
    assert list(outcome.failures) == [product.identity for product in plain.products[1:]]
    assert "Permission denied" in outcome.failures[plain.products[1].identity]
    outcome = forward(plain)
    assert list(outcome.failures) == [plain.products[1].identity]
    assert list(reverse(plain).failures) == [plain.products[1].identity]
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


# manifests


def test_manifest_there_and_back(there, base):
    forward(there)
    outcome = manifested.forward(job=there, params=manifested.Parameters())
    (final,) = outcome.outputs
    outcome.outputs[final].replace(final)
    assert (base / DATE / final.name).read_bytes() == final.read_bytes()
    back = dataclasses.replace(there, manifests=(final.name,))
    manifested.reverse(job=back, params=manifested.Parameters())
    assert not (base / DATE / final.name).exists()


def test_manifest_that_is_not_ours_stays(there, base):
    outcome = manifested.forward(job=there, params=manifested.Parameters())
    (final,) = outcome.outputs
    outcome.outputs[final].replace(final)
    (base / DATE / final.name).write_text("another")
    with pytest.raises(Irreversible):
        manifested.reverse(job=dataclasses.replace(there, manifests=(final.name,)), params=manifested.Parameters())
    assert (base / DATE / final.name).read_text() == "another"
