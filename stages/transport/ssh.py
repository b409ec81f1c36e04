"""A shell on another host: one connection, one ``sh``, and answers that are counted.

Nothing of ours need be installed there: ``sh``, coreutils (or what a Mac has of them), and rsync. What is asked for is
a line a call, and each call answers by its number, so no name of a file is ever read back from a text. The user's own
shell there may be any: it only starts ``sh``.
"""

import os
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self, cast

from stages.base import Host, Retry

#: Of every connection, and before the user's own options, as the first value of an option is the one that ssh takes:
#: nothing asks for a password, host keys are verified, and a peer that is gone is noticed within a minute.
ALWAYS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
)

#: A signal that asks to stop is this process's to obey, be it from the terminal or to all processes of a service: what
#: has arrived is proven over this connection yet. ssh leaves signals ignored that are when it begins.
SHIELDED = ("sh", "-c", 'trap "" HUP INT TERM; exec "$@"', "sh")

#: Calls in one round: what they answer must fit into a pipe while they are still being written.
ROUND = 100

#: Seconds that a connection has to close by itself.
CLOSING_S = 10

#: Functions that calls name; each answers one line: its number, a word, and what else there is to say.
#: ``openssl`` hashes several times as fast as Debian's ``sha256sum``.
FUNCTIONS = r"""
LC_ALL=C; export LC_ALL
empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
sum_openssl() { openssl dgst -sha256 -r; }
sum_coreutils() { sha256sum; }
sum_perl() { shasum -a 256; }
sum_none() { echo 'no openssl, sha256sum or shasum on this host' >&2; return 1; }
sum=none
for each in openssl coreutils perl; do
    case $(sum_$each </dev/null 2>/dev/null) in $empty*) sum=$each; break ;; esac
done
one_line() { printf '%s' "$1" | tr '\n' ' ' | cut -c 1-500; }
failed() { printf '%s error %s\n' "$1" "$(one_line "$2")"; }
is_there() { [ -e "$1" ] || [ -h "$1" ]; }
tool() { printf '%s done %s\n' "$1" "$sum"; }
machine() { printf '%s done %s %s\n' "$1" "$(uname -n)" "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"; }
look() {
    if [ -h "$2" ]; then echo "$1 other"
    elif [ -d "$2" ]; then echo "$1 folder"
    elif [ -f "$2" ]; then
        if out=$(ls -dn "$2" 2>&1); then set -- "$1" $out; echo "$1 file $6"; else failed "$1" "$out"; fi
    elif [ -e "$2" ]; then echo "$1 other"
    elif out=$(ls -d "$2" 2>&1); then failed "$1" 'appeared while it was looked at'
    else
        case $out in
            *'No such file'* | *'Not a directory'*) echo "$1 nothing" ;;
            *) failed "$1" "$out" ;;
        esac
    fi
}
prove() {
    if [ -h "$2" ] || [ ! -f "$2" ]; then look "$1" "$2"; return; fi
    sync "$2" 2>/dev/null || sync
    dd if="$2" iflag=nocache count=0 2>/dev/null || :
    if out=$( { sum_$sum < "$2" && wc -c < "$2"; } 2>&1 ); then printf '%s hash %s\n' "$1" "$(one_line "$out")"
    else failed "$1" "$out"; fi
}
folder() {
    if [ -d "$2" ] || out=$(mkdir "$2" 2>&1) || [ -d "$2" ]; then echo "$1 done"; else failed "$1" "$out"; fi
}
adopt() {
    for each in "$2"/"$3"*; do
        if [ "$each" != "$2/$4" ] && [ -f "$each/$5" ]; then mv -f "$each/$5" "$2/$4/$5"; fi
    done
    echo "$1 done"
}
discard() {
    for each in "$2"/"$3"*; do
        if [ "$each" != "$2/$4" ] && is_there "$each"; then rm -rf "$each"; fi
    done
    echo "$1 done"
}
place() {
    if [ -d "$3" ]; then failed "$1" 'a folder has the name'
    elif [ "$4" = once ] && is_there "$3"; then failed "$1" 'another file has the name'
    elif out=$(mv -f "$2" "$3" 2>&1); then echo "$1 done"; else failed "$1" "$out"; fi
}
drop() { if out=$(rm -f "$2" 2>&1); then echo "$1 done"; else failed "$1" "$out"; fi; }
prune() { if [ -d "$2" ]; then rmdir "$2" 2>/dev/null || :; fi; echo "$1 done"; }
flush() { if sync "$2" 2>/dev/null || sync; then echo "$1 done"; else failed "$1" 'sync failed'; fi; }
names() {
    if out=$(cd "$2" 2>&1 && find . ! -name . -prune -print0 | od -An -v -tx1 | tr -d ' \n'); then
        printf '%s done %s\n' "$1" "$out"
    else failed "$1" "$out"; fi
}
free() {
    if out=$(df -Pk "$2" 2>&1); then printf '%s done %s\n' "$1" "$(one_line "$out")"; else failed "$1" "$out"; fi
}
able() {
    lacks=
    command -v rsync >/dev/null 2>&1 || lacks="$lacks rsync"
    [ $sum != none ] || lacks="$lacks sum"
    { [ -r "$2" ] && [ -w "$2" ] && [ -x "$2" ]; } || lacks="$lacks access"
    echo "$1 done$lacks"
}
numbers() {
    if out=$({ find "$2" -name "$3[0-9]*" && find "$2" -type f -name "$4" -exec cut -d '|' -f 1 {} +; } 2>&1); then
        printf '%s done %s\n' "$1" "$(printf '%s\n' "$out" | sed 's|.*/||' | cut -c "1-$5" | sort -u | tr '\n' ' ')"
    else failed "$1" "$out"; fi
}
"""


class Answer(NamedTuple):
    """What a call answered: a word, and what else there was to say."""

    word: str
    text: str


class Shell(AbstractContextManager["Shell"]):
    """A shell on another host.

    Parameters
    ----------
    host : Host
        Which.

    Raises
    ------
    Retry
        If it cannot be reached, or the connection breaks: the network may be back later.
    """

    def __init__(self, host: Host) -> None:
        self.host = host

    def __enter__(self) -> Self:
        self.greeting = ""  # of somebody's profile: what is no answer
        self._folder = tempfile.TemporaryDirectory(prefix="ledger-ssh-")  # the path of a socket may have 107 bytes
        self.control = Path(self._folder.name) / "s"
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [*SHIELDED, *self.command("-M"), "--", self.target, "sh"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as exc:
            self._errors.close()
            self._folder.cleanup()
            raise Retry(f"ssh cannot be run ({exc}); expected OpenSSH's client on PATH; install it") from exc
        try:
            self._write(FUNCTIONS)
            (answer,) = self.ask([("tool",)])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.tool = {"openssl": "openssl dgst", "coreutils": "sha256sum", "perl": "shasum"}.get(answer.text, "none")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not written yet has no reader any more
                    continue
        try:
            self._process.wait(CLOSING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._folder.cleanup()

    @property
    def target(self) -> str:
        """Return the host as ssh takes it."""
        return f"{self.host.user}@{self.host.name}" if self.host.user else self.host.name

    def command(self, *arguments: str, is_shared: bool = True) -> list[str]:
        """Return the ssh command up to the host, sharing this connection or with one of its own."""
        host = self.host
        files = [("IdentityFile", host.identity_file), ("UserKnownHostsFile", host.known_hosts)]
        options = [*ALWAYS, *([f"ControlPath={self.control}"] if is_shared else [])]
        options += [f"{name}={_quoted(path)}" for name, path in files if path is not None]
        options += ["IdentitiesOnly=yes"] if host.identity_file is not None else []
        port = ["-p", str(host.port)] if host.port is not None else []
        return ["ssh", *(word for option in options for word in ("-o", option)), *port, *arguments, *host.options]

    def ask(self, calls: Sequence[Sequence[str]]) -> list[Answer]:
        """Make calls of :data:`FUNCTIONS`, each with its arguments; return their answers.

        Raises
        ------
        Retry
            If not all of them answered.
        """
        answers: list[Answer] = []
        for start in range(0, len(calls), ROUND):
            answers += self._ask(calls[start : start + ROUND])
        return answers

    def _ask(self, calls: Sequence[Sequence[str]]) -> list[Answer]:
        end = secrets.token_hex(16)
        lines = [shlex.join([name, str(n), *arguments]) for n, (name, *arguments) in enumerate(calls)]
        self._write("".join(f"{line}\n" for line in [*lines, f"echo {end}"]))
        found: dict[int, Answer] = {}
        while (line := self._read()) != end:
            number, _, rest = line.partition(" ")
            if number.isdecimal() and rest:
                word, _, text = rest.partition(" ")
                found[int(number)] = Answer(word, text)
            else:
                self.greeting = self.greeting or line.strip()
        if set(found) != set(range(len(calls))):
            raise Retry(f"{self.target}: {len(found)} answers to {len(calls)} questions; tried again later")
        return [found[n] for n in range(len(calls))]

    def _write(self, text: str) -> None:
        stdin = cast("IO[bytes]", self._process.stdin)
        try:
            stdin.write(os.fsencode(text))
            stdin.flush()
        except OSError as exc:
            raise self._lost() from exc

    def _read(self) -> str:
        line = cast("IO[bytes]", self._process.stdout).readline()
        if not line.endswith(b"\n"):
            raise self._lost()
        return os.fsdecode(line[:-1])

    def _lost(self) -> Retry:
        """Return the error for a lost connection: ssh's own words, and what they leave out."""
        self._process.kill()
        self._process.wait()
        gone = [
            f"transfer.ssh.{name} {str(path)!r} does not exist; expected a file; correct it; "
            for name, path in (("identity_file", self.host.identity_file), ("known_hosts", self.host.known_hosts))
            if path is not None and not os.path.exists(path)  # noqa: PTH110  it raises nothing
        ]
        by_hand = shlex.join([*self.command(is_shared=False), "--", self.target, "true"])
        said = f"no connection ({last_line(self._errors)})"
        return Retry(f"{self.target}: {said}; {''.join(gone)}see whether `{by_hand}` gets there")


def last_line(errors: IO[bytes]) -> str:
    """Return the last line that a program wrote to a file of errors."""
    errors.seek(0)
    lines = errors.read().decode(errors="backslashreplace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "nothing was said"


def _quoted(path: Path) -> str:
    """Return a path as ssh takes it in an option."""
    return f'"{path}"' if any(character.isspace() for character in str(path)) else str(path)
