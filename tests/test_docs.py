"""The documentation says what is there: commands, files, flags, examples; and asks nobody anything."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.cli.main import COMMANDS, expanded
from encore_jax.recipes.run import plan_of
from encore_jax.settings import fields_of

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = {page.relative_to(ROOT / "docs").as_posix(): page.read_text() for page in PAGES}
TEXT["../README.md"] = (ROOT / "README.md").read_text()


def everywhere(pattern: str) -> set[tuple[str, str]]:
    return {(name, found) for name, text in TEXT.items() for found in re.findall(pattern, text)}


def test_commands_exist():
    commands = everywhere(r"python -m ([\w.]+)")
    assert len(commands) > 5
    assert not [where for where in commands if not find_spec(where[1])]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not [where for where in everywhere(r"\bmake ([a-z][\w-]+)") if where[1] not in targets]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_alone_and_make_help_list_every_target_with_what_it_does():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # as from no make
    for command in (["make"], ["make", "help"]):
        done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
        printed = done.stdout.splitlines()
        assert {line.split(maxsplit=1)[0] for line in printed} == targets
        assert all(line.split(maxsplit=1)[1:] for line in printed)


def test_every_command_and_configuration_is_listed():
    page = TEXT["commands.md"]
    entries = [path for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text()]
    hidden = {"aot_matrix"}  # `make aot`
    named = {f"python -m experiments.{path.stem}" for path in entries if path.stem not in hidden}
    named |= {f"encore {command}" for command in COMMANDS}
    assert len(named) > 15 and not [name for name in named if not re.search(rf"^\| `{name}[` ]", page, re.MULTILINE)]
    folders = (ROOT / "experiments" / "configs", ROOT / "encore_jax" / "recipes" / "configs")
    configs = {path.stem for folder in folders for path in folder.glob("[a-z]*.py")}
    assert len(configs) > 15 and not [name for name in configs if f"`{name}`" not in page]


def test_a_saved_model_is_where_the_documents_say():
    """As the ENCORE recipe writes it."""
    named = {found for _, found in everywhere(r"(?:from_pretrained\(\"|--model=)(runs/[\w./-]+)")}
    assert {Path(found).name for found in named} == {
        stage for stage in plan_of(load_config("quickstart"), ROOT).stages if stage == "compose"
    }


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT["../README.md"])
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w\s-]", "", t).strip().lower().replace(" ", "-") for t in titles}, (
            link
        )


def test_pages_are_short_but_for_what_a_run_printed():
    printed = re.compile(r"<!-- ([\w ]+): begin -->.*?<!-- \1: end -->", re.DOTALL)
    whole = "../README.md"
    long = {name: len((text if name == whole else printed.sub("", text)).splitlines()) for name, text in TEXT.items()}
    assert not {name: lines for name, lines in long.items() if lines > 150}


def words_of_commands(text):
    """Every command of the README's bash blocks, word by word."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"]:
                yield words[2], words[3:]
            elif words[:1] == ["encore"]:
                yield COMMANDS[words[1]].module, expanded(COMMANDS[words[1]], words[2:])


def test_flags_and_fields_of_the_readmes_commands_exist():
    tried = 0
    for module, words in words_of_commands(TEXT["../README.md"]):
        code = Path(find_spec(module).origin).read_text() if not module.endswith("serve") else (
            (ROOT / "encore_jax/serve/flags.py").read_text())  # fmt: skip
        for word in (word for word in words if word.startswith("--")):
            name, _, value = word.removeprefix("--").partition("=")
            tried += 1
            if name == "workdir" and module.endswith(".run"):
                continue
            if not module.endswith(".run"):
                assert re.search(rf"\W(--)?{name}\W", code), (module, word)
            elif name == "config":
                config = load_config(value)
            else:
                assert name.removeprefix("config.") in fields_of(config), (module, word)
    assert tried > 10


def test_the_readmes_lines_on_ones_own_ratings_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = next(block for block in blocks if "enc.reliability(ratings" in block)
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(60, 2, 1))
    ratings = np.clip(np.round(3 + quality + rng.normal(size=(60, 2, 3))), 1, 5)
    given = {"ratings": ratings, "preferred": quality[..., 0].argmax(1), "names": ["safe", "honest", "kind"]}
    exec(lines, given)
    assert capsys.readouterr().out.startswith("Use ") and given["reward"].shape == (60, 2)


def test_files_exist():
    files = everywhere(r"\b((?:experiments|examples|tpu_scripts)/[\w./-]+\.(?:py|sh|md))")
    assert len(files) > 5
    assert not [where for where in files if not (ROOT / where[1]).is_file()]


def test_names_exist():
    imports = everywhere(r"^from ([\w.]+ import [\w, ]+)$") | everywhere(r"\nfrom ([\w.]+ import [\w, ]+)\n")
    assert imports
    for where, found in imports:
        module, names = found.split(" import ")
        if module.startswith("tunix"):  # in an environment of its own: tests/reward/test_tunix.py
            continue
        loaded = __import__(module, fromlist=["*"])
        for name in names.split(", "):
            assert hasattr(loaded, name), (where, found)


def test_flags_of_the_server_and_the_scorer_exist():
    for page, source in (
        ("serving.md", "encore_jax/serve/flags.py"),
        ("scoring.md", "encore_jax/cli/score.py"),
        ("export.md", "encore_jax/cli/export.py"),
    ):
        code = (ROOT / source).read_text()
        for flag in set(re.findall(r"`--([\w-]+)", TEXT[page])):
            assert re.search(rf'"(--)?{flag}"', code), (page, flag)


@pytest.mark.parametrize("name", sorted(name for name, text in TEXT.items() if ">>> " in text))
def test_examples_run(name):
    failed, tried = doctest.testfile(str(ROOT / "docs" / name), module_relative=False, encoding="utf-8")
    assert tried and not failed
