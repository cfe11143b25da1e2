"""The file that ``--config`` names: found, run, and whatever is wrong with it told in one line."""

from __future__ import annotations

import difflib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import encore_jax
from encore_jax.command_line import did_you_mean
from encore_jax.errors import InputError
from encore_jax.files import why_missing
from encore_jax.json_shape import read_bytes
from encore_jax.recipes import configs
from encore_jax.recipes.run_config import RunConfig
from encore_jax.settings import Settings

SHIPPED = Path(configs.__file__).parent
CLONE = Path(encore_jax.__file__).parents[1]
"""Of a clone, its root: its experiments' configurations have names too."""
_LARGEST = 4 << 20
"""Bytes of a configuration's file."""


def load_config(text: str, kinds: tuple[type[RunConfig], ...] = (RunConfig,)) -> RunConfig:
    """The configuration that a file's `get_config` returns.

    Args:
      text: a path, or the name of a shipped configuration, perhaps with ``:ARGUMENT`` of `get_config`.
      kinds: of configurations that the command can carry out.

    Raises:
      InputError: there is no such file, its code fails (with the line), or it returns something else.

    >>> load_config("quikstart")
    Traceback (most recent call last):
    encore_jax.errors.InputError: --config=quikstart: there is no such file. Fix: did you mean quickstart?
    """
    path = find_config(text)
    argument = text.partition(":")[2] if ":" in text else None
    module = _executed(path)
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise InputError("has no function get_config", where=str(path), fix="define get_config(), as shipped ones do")
    config = _returned(function, path, argument)
    if not isinstance(config, kinds):
        raise _wrong_kind(config, kinds, path)
    return config


def find_config(text: str) -> Path:
    """The file that ``--config=TEXT`` names, without its argument.

    Raises:
      InputError: there is none; with the nearest names.
    """
    where, name = f"--config={text}", text.partition(":")[0]
    if not name:
        raise InputError("is empty", where="--config", fix=f"give a file, or one of {', '.join(shipped_names())}")
    path = Path(name)
    try:
        if path.is_file():
            return path
        shipped = shipped_files().get(name.removesuffix(".py"))
        if path.name == name and shipped:
            return shipped
        if path.is_dir():
            raise InputError("is a folder", where=where, fix=_near(path / "x", list(path.glob("*.py"))))
        beside = list(path.parent.glob("*.py")) if path.parent != Path() else []
        there = path.exists()
        problem = "is no regular file" if there else why_missing(path, "there is no such file")
        raise InputError(problem, where=where, fix=_near(path, [one for one in beside if one != path]))
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise InputError(f"is no path: {error}", where=where, fix="give a file's path") from None


def shipped_names() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(shipped_files())


def shipped_files() -> dict[str, Path]:
    """The shipped configurations, by name: the package's, and in a clone its experiments'."""
    folders = (CLONE / "experiments" / "configs", SHIPPED)
    return {path.stem: path for folder in folders for path in folder.glob("[!_]*.py")}


def _near(path: Path, beside: Iterable[Path]) -> str:
    """What a path to nowhere may have meant: a file beside it, or a shipped configuration."""
    files = {file.name: file for file in beside}
    near = [str(files[name]) for name in difflib.get_close_matches(path.name, files, 2, 0.6)]
    near += difflib.get_close_matches(path.stem, shipped_names(), 2, 0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"give a file with get_config(), or one of {', '.join(shipped_names())}"


def _executed(path: Path) -> ModuleType:
    read_bytes(path, fix="name a file with get_config()", max_bytes=_LARGEST)  # whether it can be read at all
    loader = importlib.machinery.SourceFileLoader("config_file", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("config_file", loader))
    sys.modules["config_file"] = module  # dataclasses look their module up
    if path.resolve().is_relative_to(CLONE / "experiments") and str(CLONE) not in sys.path:
        sys.path.append(str(CLONE))  # an experiment's studies lie beside it, and are not installed
    try:
        loader.exec_module(module)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(error, path) from None
    return module


def _returned(function, path: Path, argument: str | None) -> object:
    given = () if argument is None else (argument,)
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        problem = "get_config takes no argument" if given else "get_config needs an argument"
        fix = f"--config={path}" if given else f"--config={path}:ARGUMENT"
        raise InputError(problem, where=str(path), fix=fix) from None
    except ValueError:  # a function without a signature
        pass
    try:
        return function(*given)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(error, path) from None


def _failure(error: BaseException, path: Path) -> InputError:
    """What went wrong in the file, and in which of its lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path}:{lines[-1]}" if lines else str(path)
    problem = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        place = f"{error.filename or path}:{error.lineno}" if error.lineno else place
        problem = f"{type(error).__name__}: {error.msg}"
    keyword = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    fix = "correct this line"
    if keyword:
        fields = {kind.__name__: kind.__dataclass_fields__ for kind in _settings_kinds(Settings)}
        fix = did_you_mean(keyword[2], fields.get(keyword[1], ()))
    return InputError(problem, where=place, fix=fix)


def _settings_kinds(kind: type) -> Iterable[type]:
    for child in kind.__subclasses__():
        yield child
        yield from _settings_kinds(child)


def _wrong_kind(config: object, kinds: tuple[type, ...], path: Path) -> InputError:
    if isinstance(config, RunConfig):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        problem = f"is an {type(config).__name__}, and this command is for {wanted}"
        return InputError(problem, where=str(path), fix=f"encore run {path}")
    got = "None: it has no return" if config is None else f"a {type(config).__name__}"
    problem, fix = f"get_config returns {got}", "return a configuration, e.g. ExperimentConfig(...)"
    return InputError(problem, where=str(path), fix=fix)
