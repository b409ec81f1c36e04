"""What lets the system call `catch-up` by itself: a line for cron, or a service and a timer for systemd.

Everything is named in full: neither knows the path, the environment or the folder of whoever set them up.
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.config.read import variables
from ledger.errors import UsageError

#: Minutes between two calls that both cron and systemd can keep: they divide the hour.
MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)

#: Variables with secrets, which no crontab or unit is to hold, as others can read them: those that are called so,
#: passwords in URLs, and what tells somebody, whose URL is all that one needs to know to call it.
_SECRETS = re.compile(
    r"[^=]*(PASSWORD|PASSWD|TOKEN|SECRET)|.*(://[^\s@]*:[^\s@]*@|[?&]password=)|LEDGER_NOTIFY.*https?://", re.IGNORECASE
)

#: Exit status of a command that found its night held by another run: cron says nothing of it, systemd calls it success.
_BUSY = 75

#: How long systemd waits for a run to end in order.
_STOP_MINUTES = 30


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `catch-up`, as this installation makes it.

    Attributes
    ----------
    program : tuple of str
        The program, by absolute paths.
    config : Path
        The configuration, absolute.
    environment : mapping of str to str
        Variables that change the configuration, and PATH.
    minutes : int
        Between two calls.
    """

    program: tuple[str, ...]
    config: Path
    environment: Mapping[str, str]
    minutes: int

    @property
    def words(self) -> tuple[str, ...]:
        """Return the command."""
        return (*self.program, "--config", str(self.config), "catch-up")

    @property
    def name(self) -> str:
        """Return a name that is this configuration's alone."""
        where = re.sub(r"[^A-Za-z0-9]+", "-", self.config.parent.name).strip("-") or "root"
        return f"ledger-{where}-{hashlib.sha256(os.fsencode(self.config)).hexdigest()[:8]}"


def call_of(config: Path, minutes: int, environment: Mapping[str, str]) -> Call:
    """Return the call for a configuration, as this process would make it.

    Parameters
    ----------
    config : Path
        Its file.
    minutes : int
        Between two calls; one of :data:`MINUTES`.
    environment : mapping of str to str
        Of this process.

    Raises
    ------
    UsageError
        If a variable with a secret would be needed, or one has several lines.
    """
    needed = variables(environment)
    needed.pop("LEDGER_CONFIG", None)  # named in full
    if secret := sorted(name for name, value in needed.items() if _SECRETS.match(f"{name}={value}")):
        raise UsageError(
            f"{secret[0]} holds a secret, which others could read in a crontab or unit; expected it in the"
            " configuration, or (a password) in ~/.netrc or ~/.pgpass, and the variable not set"
        )
    needed["PATH"] = environment.get("PATH", os.defpath)  # ssh and rsync are found by it
    if strange := sorted(name for name, value in needed.items() if not value.isprintable()):
        raise UsageError(f"{strange[0]} has characters that no crontab or unit can hold; expected printable ones")
    script = Path(sys.argv[0]).absolute()
    is_script = script.name == "ledger" and os.access(script, os.X_OK)
    program = (str(script),) if is_script else (sys.executable, "-m", "ledger.cli")
    return Call(program, config.absolute(), needed, minutes)


# cron


def crontab_lines(call: Call) -> tuple[str, str]:
    """Return a comment that marks the entry as this ledger's, and the entry."""
    when = "0 * * * *" if call.minutes == 60 else f"*/{call.minutes} * * * *"
    command = shlex.join([f"{name}={value}" for name, value in sorted(call.environment.items())])
    text = f"env {command} {shlex.join(call.words)}".replace("%", r"\%")  # crontab(5): % ends the command
    return f"# {call.name}: ledger catch-up ({call.config})", f"{when} {text}"


def with_entry(crontab: str, call: Call) -> str:
    """Return a crontab with the entry, in place of one of before; all else stays as it is."""
    kept = without_entry(crontab, call)
    return "".join(
        [kept, "" if kept.endswith("\n") or not kept else "\n", *(f"{line}\n" for line in crontab_lines(call))]
    )


def without_entry(crontab: str, call: Call) -> str:
    """Return a crontab without the entry of this configuration."""
    lines = crontab.splitlines(keepends=True)
    return "".join(line for line in lines if not _is_ours(line.rstrip("\n"), call))


def _is_ours(line: str, call: Call) -> bool:
    """Whether a line is the comment, or the entry, of this configuration, as any installation writes it."""
    ending = shlex.join(call.words[len(call.program) :]).replace("%", r"\%")
    entry = rf"(\*/\d+|0) \* \* \* \* env (\S+ |'[^']*' )*{re.escape(ending)}"
    return line.startswith(f"# {call.name}: ") or re.fullmatch(entry, line) is not None


def read_crontab() -> str:
    """Return the user's crontab; empty if there is none.

    Raises
    ------
    UsageError
        If there is no cron here, or it does not let this user have one.
    """
    done = _run(["crontab", "-l"])
    if done.returncode and "no crontab for" not in done.stderr:
        raise UsageError(f"crontab -l: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout


def write_crontab(text: str) -> None:
    """Replace the user's crontab.

    Raises
    ------
    UsageError
        If cron refuses it; then the one of before stands.
    """
    done = _run(["crontab", "-"], text)
    if done.returncode:
        raise UsageError(f"crontab: {done.stderr.strip() or done.stdout.strip()}")


# systemd


def units(call: Call, user: str | None) -> dict[str, str]:
    """Return the units, by their names.

    Parameters
    ----------
    call : Call
        What they call.
    user : str or None
        As whom, for units of the system; None: they are the user's own.
    """
    variables = "".join(f'Environment="{name}={_escaped(value)}"\n' for name, value in sorted(call.environment.items()))
    whose = "" if user is None else f"User={user}\n"
    command = " ".join(f'"{_escaped(word).replace("$", "$$")}"' for word in call.words)
    service = f"""\
[Unit]
Description=ledger catch-up ({_percent(str(call.config))})
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{whose}{variables}\
ExecStart=/usr/bin/env {command}
SuccessExitStatus={_BUSY}
KillMode=mixed
TimeoutStopSec={_STOP_MINUTES}min
"""
    when = "hourly" if call.minutes == 60 else f"*:0/{call.minutes}"
    timer = f"""\
[Unit]
Description=ledger catch-up every {call.minutes} min ({_percent(str(call.config))})

[Timer]
OnCalendar={when}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{call.name}.service": service, f"{call.name}.timer": timer}


def _percent(text: str) -> str:
    return text.replace("%", "%%")  # systemd.unit(5), specifiers


def _escaped(text: str) -> str:
    """Return a text within double quotes, as systemd.syntax(7) has it."""
    return _percent(text.replace("\\", "\\\\").replace('"', '\\"'))


def unit_folder(environment: Mapping[str, str]) -> Path:
    """Return where units go: those of the system for root, or else the user's own."""
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "systemd/user"


def systemctl(*words: str) -> None:
    """Call systemctl.

    Raises
    ------
    UsageError
        If it fails.
    """
    scope = [] if os.geteuid() == 0 else ["--user"]
    done = _run(["systemctl", *scope, *words])
    if done.returncode:
        raise UsageError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")


def _run(words: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise UsageError(f"{words[0]} is not installed here; expected it, or the other way (--systemd, cron)") from exc
