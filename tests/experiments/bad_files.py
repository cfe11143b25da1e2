"""What every command says of a FILE that is none: ``python -m tests.experiments.bad_files``, in an empty folder.

Prints one JSON line: by command and file, exit status and output. Forks after the imports that all commands share.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

from tests.experiments.help_of_all import run
from tests.shown_commands import import_what_commands_share

WORDS = {
    "dash": "-x.csv",
    "two dashes": "--x.csv",
    "empty": "",
    "slash": "x.csv/",
    "pipe": "pipe.csv",
    "socket": "socket.csv",
    "device": "/dev/zero",
    "loop": "loop.csv",
    "link to nothing": "link.csv",
    "line break": "no\nwhere.csv",
    "null": "no\0where.csv",
}
FIT = ["--config.data.pool=safety_10", "--config.model.path=model", "--workdir=w"]
JUDGE = ["--config.judge.model=judge", "--config.judge.server.urls=http://127.0.0.1:1", "--workdir=w"]
COMMANDS = {
    "fit FILE": lambda file: ["fit", file, *FIT],
    "fit pairs.jsonl FILE": lambda file: ["fit", "pairs.jsonl", file, *FIT],
    "rate FILE": lambda file: ["rate", file, *JUDGE],
    "evaluate model FILE": lambda file: ["evaluate", "model", file, "--workdir=w"],
    "run FILE": lambda file: ["run", file],
    "ablate FILE": lambda file: ["ablate", file, "--workdir=w"],
    "reliability FILE": lambda file: ["reliability", file],
    "halo FILE x.csv": lambda file: ["halo", file, "x.csv"],
    "score --input=FILE": lambda file: ["score", "--model=model", f"--input={file}", "--output=o.parquet"],
    "select-pool --ratings=FILE": lambda file: [
        "select-pool", "--candidates=rules.yaml", f"--ratings={file}", "--size=2", "--out=o.yaml",
    ],
    "export --workdir=FILE": lambda file: ["export", f"--workdir={file}", "--out=o"],
    "config FILE": lambda file: ["config", file],
}  # fmt: skip


def main() -> None:
    """Carries out every command on every file."""
    import_what_commands_share()
    for name in ("x.csv", "-x.csv", "--x.csv"):
        with open(name, "w", encoding="utf-8") as file:
            file.write("prompt,response,kind,true\nHi,a,1,2\nHi,b,2,1\n")
    with open("pairs.jsonl", "w", encoding="utf-8") as file:
        file.write('{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n')
    rules = [{"name": name, "text": f"It is {name}."} for name in ("kind", "true", "safe")]
    with open("rules.yaml", "w", encoding="utf-8") as file:
        json.dump({"name": "mine", "rules": rules}, file)
    os.mkdir("model")
    os.mkfifo("pipe.csv")
    os.symlink("loop.csv", "loop.csv")
    os.symlink("nothing.csv", "link.csv")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind("socket.csv")
    before, told = sorted(os.listdir()), {}
    for name, words in COMMANDS.items():
        for kind, file in WORDS.items():
            if kind in ("dash", "two dashes", "empty") and "=FILE" in name:
                continue  # of a flag's value there is no doubt
            told[f"{name}: {kind}"] = run("encore_jax.cli.main", words(file))
    print(json.dumps({"told": told, "made": sorted(set(os.listdir()) - set(before))}))


if __name__ == "__main__":
    sys.exit(main())
