"""The configuration of a panel: several judges, each asked in its own way, all of them the same questions."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import field

from encore_jax.data.panel import FEWEST_JUDGES
from encore_jax.errors import InputError
from encore_jax.evaluation.panel import FEWEST_DRAWS
from encore_jax.judge.prompts import PROMPTS
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.checks import check_name, one_of, require
from encore_jax.recipes.config import DataConfig, ModelConfig, check_mesh
from encore_jax.recipes.data_config import RATINGS_FORMATS
from encore_jax.recipes.rating_config import JudgeConfig
from encore_jax.recipes.run_config import RECIPES, RunConfig
from encore_jax.settings import Settings

ASKED_BY_TEMPERATURE = tuple(name for name, prompt in PROMPTS.items() if not prompt.answers)
"""Prompts whose answers are written out, and so may differ from draw to draw."""
MOST_REPEATS, MOST_REPLICATES = 100, 100_000
LABELS = ("human-rated", "judge-rated", "model-rated", "semi-synthetic")


@dataclasses.dataclass
class TableConfig(Settings):
    """Of a judge "table": where its ratings are.

    Attributes:
      path, format: rated responses, as data.ratings_path and data.ratings_format. "" takes the data's own ratings.
      scale: lowest and highest rating of the file; () is 0,1, or what the format says.
      label: what its ratings are called.
    """

    path: str = ""
    format: str = "auto"
    scale: tuple[float, ...] = ()
    label: str = "human-rated"

    def check(self) -> None:
        """Raises InputError."""
        one_of("judge.table.format", self.format, RATINGS_FORMATS)
        one_of("judge.table.label", self.label, LABELS)
        sound = len(self.scale) == 0 or (len(self.scale) == 2 and self.scale[0] < self.scale[1])
        require("judge.table.scale", sound, "is two numbers, the lower one first, or left out")


@dataclasses.dataclass
class PanelJudge(JudgeConfig):
    """One judge of a panel: as in a rating run, and what is its own here.

    Attributes:
      repeats: ask it so many times; each draw has a seed of its own.
      temperature: of a judge that is asked several times; asked once, it answers greedily.
      table: of judge "table".
      backbone: of judges "local" and "model", what config.model is of a rating run.
      fetch_backbone: of judge "model": fetch the backbone that the model's own files name, wherever it is.
    """

    repeats: int = 1
    temperature: float = 1.0
    table: TableConfig = field(default_factory=TableConfig)
    backbone: ModelConfig = field(default_factory=ModelConfig)
    fetch_backbone: bool = False

    def check(self) -> None:
        """Raises InputError."""
        super().check()
        one_of("judge.prompt", self.prompt, tuple(PROMPTS))
        require("judge.rules_of", not self.rules_of, "is empty: all judges are asked about all rules")
        require("judge.pool", not self.pool, "is empty: all judges are asked about one pool, --config.pool")
        require("judge.repeats", 1 <= self.repeats <= MOST_REPEATS, f"is 1 to {MOST_REPEATS}")
        require("judge.temperature", 0 < self.temperature <= 5, "is above 0 and at most 5")
        self.table.check()
        self.backbone.check()
        if self.kind == "model" and not self.backbone.path:
            raise InputError("is empty", where="config.judge.backbone.path", fix="name the model's folder")
        if self.repeats > 1:
            self._check_repeats()

    def _check_repeats(self) -> None:
        where = "config.judge.repeats"
        if self.kind not in ("server", "batch"):
            problem = f"is {self.repeats}, and judge {self.kind!r} answers the same every time"
            raise InputError(problem, where=where, fix="leave it out")
        if self.prompt not in ASKED_BY_TEMPERATURE:
            problem = f"is {self.repeats}, and ratings by {self.prompt} are probabilities, the same in every draw"
            raise InputError(problem, where=where, fix=f"ask by --config.judge.prompt={ASKED_BY_TEMPERATURE[0]}")
        for name in ("seed", "temperature"):
            if self.extra_fields().get(name) is not None:
                fix = "leave it out, or give null if the server does not take the field"
                raise InputError(f"states {name!r}, which is every draw's own", where="config.judge.extra", fix=fix)


@dataclasses.dataclass
class PanelJudges(Settings):
    """The judges by name: a field for each; `panel_of` makes one."""


def panel_of(**judges: PanelJudge) -> PanelJudges:
    """Judges by name.

    Raises:
      InputError: a name that is no identifier, or that is the same as another but for upper and lower case.

    >>> panel_of(ann=PanelJudge(model="a"), bob=PanelJudge(model="b")).bob.model
    'b'
    """
    lowered: dict[str, str] = {}
    for name in judges:
        check_name(f"judges.{name}", name)
        taken = hasattr(PanelJudges, name) or not name.isidentifier() or name.startswith("_")
        if taken or (other := lowered.setdefault(name.lower(), name)) != name:
            problem = "is no name of a judge" if taken else f"is called like {other!r}"
            fix = "letters, digits and _, beginning with a letter, no two alike"
            raise InputError(problem, where=f"config.judges.{name}", fix=fix)
    fields = [(name, PanelJudge, field(default_factory=PanelJudge)) for name in judges]
    try:
        kind = dataclasses.make_dataclass("PanelJudges", fields, bases=(PanelJudges,))
    except (TypeError, ValueError) as error:  # a keyword of Python
        fix = "letters, digits and _, and no keyword of Python"
        raise InputError(str(error), where="config.judges", fix=fix) from None
    return kind(**judges)


@dataclasses.dataclass
class PanelConfig(RunConfig):
    """Every response of a set of comparisons, rated on every rule of a pool by every judge of a panel.

    Attributes:
      data: what is rated.
      pool: the rules, a shipped pool's name or a YAML file; "" takes data.pool.
      judges: who rates, by name.
      min_judges: the mean needs ratings by so many judges; 0 means all. With fewer, the mean of one response shifts by
        how severe the missing judges are.
      mean_of: judges whose ratings are averaged, if the report says that some are better left out; () means all.
      anchor: a judge and a rule whose ratings are known to be about quality, should the panel split; () for none.
      mesh: of judges "local" and "model": how this machine's devices share a model and its rows.
      replicates: bootstrap draws over prompts.
      tau: temperature of the entropy weights that the panel's reward is compared with.
    """

    data: DataConfig = field(default_factory=DataConfig)
    pool: str = ""
    judges: PanelJudges = field(default_factory=PanelJudges)
    min_judges: int = 0
    mean_of: tuple[str, ...] = ()
    anchor: tuple[str, ...] = ()
    mesh: MeshSettings = field(default_factory=MeshSettings)
    replicates: int = 500
    tau: float = 2.0

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.panel"

    def check(self) -> None:
        """Checks every choice that can be checked without data.

        Raises:
          InputError: naming the field and what it may be.
        """
        self.data.check()
        check_mesh(self.mesh)
        named = dict(self.named())
        for name, judge in named.items():
            with_name(name, judge.check)
        if sum(judge.repeats for judge in named.values()) < FEWEST_JUDGES:
            fix = "judges=panel_of(one=PanelJudge(...), other=PanelJudge(...)) in the file, or repeats of one judge"
            raise InputError(f"has {len(named)} judge{'s' if len(named) != 1 else ''}", where="config.judges", fix=fix)
        for name in self.mean_of:
            one_of("mean_of", name, tuple(named))
        require("mean_of", len(set(self.mean_of)) == len(self.mean_of), "names each judge once")
        averaged = len(self.mean_of) or len(named)
        require("min_judges", 0 <= self.min_judges <= averaged, f"is 0 (all judges) to {averaged}")
        require("anchor", len(self.anchor) in (0, 2), "is a judge and a rule, or left out")
        sound = FEWEST_DRAWS <= self.replicates <= MOST_REPLICATES
        require("replicates", sound, f"is {FEWEST_DRAWS} to {MOST_REPLICATES}")
        require("tau", self.tau > 0, "is positive")

    def named(self) -> Iterator[tuple[str, PanelJudge]]:
        """The judges by name, in their order."""
        for each in dataclasses.fields(self.judges):
            yield each.name, getattr(self.judges, each.name)

    def members(self) -> dict[str, tuple[str, JudgeConfig]]:
        """Of every draw of every judge its own name, the judge's, and how it is asked, about `pool`."""
        found = {}
        for name, judge in self.named():
            for draw in range(1, judge.repeats + 1):
                member = name if judge.repeats == 1 else f"{name}.{draw}"
                found[member] = (name, self._asked(judge, draw))
        return found

    def tables(self) -> dict[str, DataConfig]:
        """By name of a judge that reads a file of its own: the file, as a run's data would name it."""
        return {
            name: dataclasses.replace(
                self.data,
                ratings_path=judge.table.path,
                ratings_format=judge.table.format,
                scale=tuple(judge.table.scale),
            )
            for name, judge in self.named()
            if judge.kind == "table" and judge.table.path
        }

    @property
    def reads_own_ratings(self) -> bool:
        """Whether a judge takes the data's own ratings."""
        return any(judge.kind == "table" and not judge.table.path for _, judge in self.named())

    def _asked(self, judge: PanelJudge, draw: int) -> JudgeConfig:
        values = {each.name: getattr(judge, each.name) for each in dataclasses.fields(JudgeConfig)}
        if judge.repeats > 1:
            drawn = {"temperature": judge.temperature, "seed": self.seed + draw} | judge.extra_fields()
            values["extra"] = json.dumps(drawn)
            values["revision"] = " ".join(filter(None, [judge.revision, f"draw {draw}"]))
        return JudgeConfig(**values)


def with_name(name: str, function, *, table: bool = False):
    """Calls a function on one judge; what it refuses names that judge's fields.

    Args:
      name: the judge's.
      function: without arguments.
      table: it reads the judge's table.

    Raises:
      InputError: as the function's, with `config.judges.NAME` in place of `config.judge`.
    """
    try:
        return function()
    except InputError as error:
        raise named_error(name, error, table=table) from None


def named_error(name: str, error: InputError, *, table: bool = False) -> InputError:
    """The same error, about one judge of a panel.

    >>> print(named_error("ann", InputError("is empty", where="config.judge.model", fix="give --config.judge.model=X")))
    config.judges.ann.model: is empty. Fix: give --config.judges.ann.model=X
    """
    own = f"config.judges.{name}"
    fields = {"config.judge.": f"{own}.", "config.model.": f"{own}.backbone."}
    if table:
        fields |= {f"config.data.{part}": f"{own}.table.{part}" for part in ("scale", "format")}
        fields |= {f"config.data.ratings_{part}": f"{own}.table.{part}" for part in ("path", "format")}

    def renamed(text: str) -> str:
        for old, new in fields.items():
            text = text.replace(old, new)
        return text

    where = renamed(error.where or "")
    told = where if own in where else f"judge {name}" + (f", {where}" if where else "")
    return InputError(renamed(error.problem), where=told, fix=renamed(error.fix or ""))
