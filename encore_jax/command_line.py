"""What all commands have in common: flags, one line for whatever is wrong, exit statuses.

Exit statuses: 0 done; 1 the work failed (a full disk, no permission); 2 bad input, a wrong flag among it;
130 interrupted; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import glob
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.files import check_file_words
from encore_jax.terminal_text import escaped

FAILED, BAD_INPUT, INTERRUPTED, STOPPED = 1, 2, 130, 143
_AGAIN = "run the same command again: runs, judges, scores and sweeps resume where they were"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_FULL_WORDS = re.compile(
    r"no space left on device|os error 28\b|disk is full|disk quota exceeded|file too large|requested and \d+ written",
    re.IGNORECASE,
)  # of libraries that raise errors of their own: SQLite, safetensors, TensorStore, NumPy
EXTRAS = {"aiohttp": "judge", "libtpu": "aot", "llama_cpp": "llama", "gcsfs": "tpu", "torch": "bench", "trl": "bench"}
"""Packages that only some commands need, and the extra that installs them."""
_GOOGLE, _NO_TPUS = "0x1ae0", ("0x0042", "0x001f")  # network and disks of Google's virtual machines


def prepare_environment() -> None:
    """Keeps libraries from looking for a TPU that is not there, and from saying what nobody asked.

    With the TPU compiler installed (extra ``aot``) jax would load it and print its complaints. Called before jax looks
    for devices and before transformers is imported.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is not installed is no news
    if os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_FORCE_TPU_INIT") or _has_accelerator():
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def _has_accelerator() -> bool:
    """Whether something else than processors may be attached: a TPU, a GPU, or a device with a plugin of its own."""
    devices = ("/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/accel*")
    if os.environ.get("PJRT_NAMES_AND_LIBRARY_PATHS") or any(glob.glob(pattern) for pattern in devices):
        return True
    for vendor in glob.glob("/sys/bus/pci/devices/*/vendor"):
        with contextlib.suppress(OSError):
            device = Path(vendor).with_name("device").read_text().strip()
            if Path(vendor).read_text().strip() == _GOOGLE and device not in _NO_TPUS:
                return True
    return False


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Around a command: what its user can do something about ends it with one line and an exit status."""
    prepare_environment()
    before = _hear_sigterm()
    try:
        yield
    except InputError as error:
        _end(str(error), BAD_INPUT)
    except _Stopped:
        _end(f"stopped (SIGTERM). Fix: {_AGAIN}", STOPPED)
    except KeyboardInterrupt:
        _end(f"interrupted. Fix: {_AGAIN}", INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        line = _cause(error)
        if line is None:
            raise
        _end(line, FAILED)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class _Stopped(BaseException):
    """SIGTERM has come."""


def _hear_sigterm():
    """Makes SIGTERM an exception, as Ctrl-C is one, so that it is answered in one line and leaves no half files; the
    handler before, or None where somebody else listens already or this is no main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None

    def stop(number, frame):
        raise _Stopped

    return signal.signal(signal.SIGTERM, stop)


def run_command(
    parse: Callable[[], argparse.Namespace],
    main: Callable[[argparse.Namespace], int | None],
    *,
    logs: bool = True,
    times: bool = False,
) -> None:
    """Runs a command as a program: reads its flags, starts the log if it has one, ends with what `main` returns.

    Args:
      parse, main: of the command.
      logs, times: whether it has a log, and whether the log's lines begin with the time.
    """
    with one_line_errors():
        arguments = parse()
        if logs:
            start_logging(times=times)
        sys.exit(main(arguments))


def _end(line: str, status: int) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    sys.exit(status)


def _cause(error: BaseException) -> str | None:
    """One line for an error of the operating system, also inside of another error; None for any other error."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for each in chain:
        if getattr(each, "errno", None) in _DISK_FULL or _DISK_FULL_WORDS.search(str(each)):
            named = getattr(each, "filename", None)
            where = f"{escaped(named)}: " if named else ""
            return f"{where}no room is left on the disk. Fix: make room, and {_AGAIN}"
    first = chain[0]
    if isinstance(first.__cause__, InputError):
        return str(first.__cause__)
    if isinstance(first, ModuleNotFoundError) and first.name in EXTRAS:
        return f"{first.name} is not installed here. Fix: pip install -e '.[{EXTRAS[first.name]}]'"
    if isinstance(first, MemoryError):
        return "there is not enough memory. Fix: a smaller --tokens_per_batch, or a machine with more"
    if isinstance(first, OSError) and first.errno is not None:
        where = f"{escaped(first.filename)}: " if first.filename is not None else ""
        return f"{where}{escaped(first.strerror)}. Fix: check the path and its permissions"
    return None


def did_you_mean(word: str, known: Iterable[str], dashes: str = "") -> str:
    """``did you mean --a or --b?``, or all that is known where nothing is near.

    >>> did_you_mean("ouput", ["output", "input"], "--")
    'did you mean --output or --input?'
    >>> did_you_mean("xyz", ["output", "input"])
    'use one of output, input'
    >>> did_you_mean("tau", ["until", "config.compose.tau"], "--")
    'did you mean --config.compose.tau?'
    """
    known, last = list(known), word.rpartition(".")[2]
    near = difflib.get_close_matches(word, [name for name in known if "." not in name], 2, 0.6)
    near += [name for name in known if len(word) > 2 and (name.startswith(word) or word.startswith(name))]
    ends = difflib.get_close_matches(last, list(dict.fromkeys(name.rpartition(".")[2] for name in known)), 2, 0.75)
    near += [name for name in known if "." in name and name.rpartition(".")[2] in ends]
    if near:
        return f"did you mean {' or '.join(dashes + name for name in list(dict.fromkeys(near))[:3])}?"
    return f"use one of {', '.join(dashes + name for name in known)}" if known else "leave it out"


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises `InputError` instead of printing its usage; no flag is abbreviated."""

    def __init__(self, **options):
        super().__init__(**({"allow_abbrev": False, "prog": _program()} | options))

    def parse_args(self, args: Sequence[str] | None = None, namespace=None):
        args = list(sys.argv[1:] if args is None else args)
        check_file_words(args)
        known = [name for action in self._actions for name in action.option_strings]
        for argument in args[: args.index("--")] if "--" in args else args:  # before anything is missed
            flag = argument.partition("=")[0]
            if flag.startswith("--") and flag not in known:
                names = [name.lstrip("-") for name in known if name.startswith("--")]
                raise InputError("there is no such flag", where=flag, fix=did_you_mean(flag.lstrip("-"), names, "--"))
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise InputError(f"unexpected arguments: {' '.join(unknown)}", fix="write --FLAG=VALUE; see --help")
        return given

    def error(self, message: str):
        place, _, problem = message.partition(": ")
        if place.startswith("argument "):
            flag = place.removeprefix("argument ").split("/")[0]
            kind = {"invalid int value": "a whole number", "invalid float value": "a number"}.get(problem.split(":")[0])
            raise InputError(problem, where=flag, fix=f"write {kind}, {flag}=NUMBER" if kind else "see --help")
        raise InputError(message, fix="see --help")


def _program() -> str | None:
    """What a subcommand's usage calls it; None for any other program, which argparse names itself."""
    module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "")
    home, _, name = module.rpartition(".")
    return f"encore {name.replace('_', '-')}" if home == "encore_jax.cli" else None


def _refused_flag(message: str) -> InputError:
    """What absl says of a flag's value."""
    for pattern in (r"flag (--\S+?)(?:=.*?)?: (.*)", r"(Missing value) for flag (--\S+)"):
        if match := re.fullmatch(pattern, message, re.DOTALL):
            flag, problem = match.groups() if match[1].startswith("--") else (match[2], "has no value")
            return InputError(problem, where=flag, fix=f"write {flag}=VALUE; see --help")
    return InputError(message, fix="see --help")


def check_number(flag: str, value: float, low: float, high: float) -> None:
    """Raises InputError unless a flag's number lies between two others."""
    if not low <= value <= high:
        raise InputError(f"{value} is out of range", where=flag, fix=f"a value from {low:g} to {high:g}")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether ``--help`` is among the flags."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(argument in ("--help", "-help", "-h", "--h", "-?", "--helpshort") for argument in before)


HELP = "HELP"
"""A program that was started under a name of its own has such a global: what ``--help`` prints before the flags."""


def own_flags() -> list[str]:
    """Names of the flags that are this package's, not absl's or a library's."""
    from absl import flags

    homes = ("experiments", "encore_jax", "__main__", sys.argv[0])
    defined_in = {name: str(flags.FLAGS.find_module_defining_flag(name)) for name in flags.FLAGS}
    return [name for name, module in defined_in.items() if module.startswith(homes)]


MESH = (
    "How devices share the model, e.g. tensor=8 or fsdp=2,tensor=4: data repeats it, fsdp splits its parameters and "
    "the batch, tensor splits heads and MLP. The sizes multiply to the number of devices; one may be -1, the rest."
)
MULTIHOST = "Join the processes of a pod: auto, or HOST:PORT,PROCESSES,INDEX; each runs this same command."


def define_devices() -> None:
    """Defines ``--mesh`` and ``--multihost``, which runs and the batch scorer share."""
    from absl import flags

    if "mesh" not in flags.FLAGS:
        flags.DEFINE_string("mesh", "", MESH)
        flags.DEFINE_string("multihost", "", MULTIHOST)


def define_overwrite() -> None:
    """Defines ``--overwrite``, which commands with outputs share."""
    from absl import flags

    if "overwrite" not in flags.FLAGS:
        flags.DEFINE_bool("overwrite", False, "Replace what lies where the outputs go and this command has not made.")


def parse_flags(argv: Sequence[str], required: Sequence[str] = (), more: Iterable[str] = ()) -> None:
    """Parses absl's flags; ``--help`` prints them and ends with status 0.

    Their names have underscores; with dashes they mean the same.

    Args:
      argv: program and arguments.
      required: flags that must be given, and not be empty.
      more: names that are no flags of absl's, for "did you mean".

    Raises:
      InputError: naming the flag.
    """
    from absl import app, flags

    app.define_help_flags()
    check_file_words(argv[1:])
    own = own_flags()
    if asks_for_help(argv[1:]):
        program = sys.modules["__main__"]
        print(getattr(program, HELP, program.__doc__ or "").strip(), "\n\nflags:")
        for name in sorted(own):
            flag = flags.FLAGS[name]
            default = f" [{flag.default_as_str}]" if flag.default not in (None, "", False, []) else ""
            print(f"  --{name}{'' if flag.boolean else '=...'}: {flag.help}{default}")
        sys.exit(0)
    try:
        rest = flags.FLAGS([argv[0], *_underscored(argv[1:], set(flags.FLAGS))])
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        fix = did_you_mean(name.replace("-", "_"), [*own, *more], "--")
        raise InputError("there is no such flag", where=f"--{name}", fix=fix) from None
    except flags.Error as error:
        raise _refused_flag(str(error)) from None
    if len(rest) > 1:
        raise InputError(f"unexpected arguments: {' '.join(rest[1:])}", fix="write --FLAG=VALUE; see --help")
    for name in required:
        flag = flags.FLAGS[name]
        if flag.value is None or flag.value == "":
            problem = "is missing" if flag.value is None else "is empty"
            raise InputError(problem, where=f"--{name}", fix=f"give --{name}=...: {flag.help}")


def _underscored(words: Sequence[str], names: set[str]) -> Iterator[str]:
    """Arguments with the flags' own names: ``--dry_run`` for ``--dry-run``.

    >>> list(_underscored(["--dry-run", "--no-dry-run", "--no-such=a-b", "x-y", "--", "--dry-run"], {"dry_run"}))
    ['--dry_run', '--nodry_run', '--no-such=a-b', 'x-y', '--', '--dry-run']
    """
    ended = False
    for word in words:
        ended |= word == "--"
        flag, equals, value = word.partition("=")
        name = flag.lstrip("-").replace("-", "_")
        if name.startswith("no_") and name[3:] in names:
            name = f"no{name[3:]}"
        known = name in names or name.removeprefix("no") in names
        yield f"--{name}{equals}{value}" if known and flag.startswith("-") and not ended else word


def start_logging(*, times: bool = True) -> None:
    """Logs to the terminal through absl: control characters escaped, and without what nobody asked for.

    Args:
      times: whether every line begins with the time of day, and warnings and errors with that word; the log of a
        command of seconds is its messages alone.
    """
    import logging as standard

    from absl import flags, logging

    if not flags.FLAGS.is_parsed():  # a command without flags of absl's, which would warn of that
        flags.FLAGS.mark_as_parsed()
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    text = "%(asctime)s %(level)s%(message)s" if times else "%(message)s"
    handler.setFormatter(standard.Formatter(text, "%H:%M:%S"))
    if not any(isinstance(one, _Filter) for one in handler.filters):
        handler.addFilter(_Filter())


class _Filter:
    """Leaves out what Orbax says of every file, and jax of platforms that are not there; escapes and labels the rest.

    A record's `level` is what a line says before its message: nothing but of a warning or an error.
    """

    def filter(self, record) -> bool:
        if record.levelno <= 20 and ("orbax" in record.pathname or "xla_bridge" in record.pathname):
            return False
        record.msg, record.args = escaped(record.getMessage(), lines=True), ()
        record.level = f"{record.levelname.lower()}: " if record.levelno > 20 else ""
        return True
