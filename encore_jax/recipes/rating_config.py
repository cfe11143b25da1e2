"""The configuration of a rating run: who is asked what, and what it may cost."""

import dataclasses
from dataclasses import field
from pathlib import Path

from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.http.settings import ServerSettings, check_keyless
from encore_jax.json_shape import decode_json
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.calls.prompts import SCHEMAS
from encore_jax.judge.pairwise import PAIR_PROMPTS
from encore_jax.judge.prompts import PROMPTS
from encore_jax.judge.reading import MOST_OTHER
from encore_jax.judge.request import MOST_TOP, check_extra
from encore_jax.judge.run import MAX_FAILURES_IN_A_ROW
from encore_jax.judge.settings import RetryPolicy
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.config import DataConfig, ModelConfig, check_composition, check_mesh
from encore_jax.recipes.run_config import RECIPES, RunConfig
from encore_jax.settings import Settings, no_result

KINDS = ("server", "batch", "local", "model", "table")
ASKED = ("server", "batch", "local")
"""Kinds that are asked in words."""


@dataclasses.dataclass
class JudgeConfig(Settings):
    """Who rates, and how it is asked.

    Attributes:
      kind: "server" (any OpenAI-compatible endpoint), "batch" (OpenAI batch files), "local" (the model that
        config.model names, on this machine's devices), "model" (a trained multi-head reward model, whose folder
        model.path names) or "table" (ratings from the files that data.ratings_path, or
        data.source "pyrit", name).
      pool: the rules, a shipped pool's name or a YAML file; "" takes data.pool.
      rules_of: folder of a finished adapter run: each comparison is asked about the `most_rules` rules that the adapter
        predicts for it, and no others. "" asks about every rule.
      most_rules: r, of `rules_of`.
      prompt: which wording, among `encore_jax.judge.prompts.PROMPTS` for ratings, or
        `encore_jax.judge.pairwise.PAIR_PROMPTS` for verdicts on labelled pairs.
      system_role: whether a served judge's model has a system role; False puts the instructions into the user's turn,
        as a prompt of its own name (Gemma refuses a system message). A local judge finds out by itself.
      rules_per_call: rules that a server, a batch file or this machine's model is asked about in one call: 1 asks about
        each by itself, 0 about all at once. Many in a call cost less, and let the answers lean on each other.
      structured: of several rules in a call, how a server is told the answer's shape, one of
        `encore_jax.judge.calls.prompts.SCHEMAS`.
      halo_sample: of several rules in a call: first ask about so many responses three times, rule by rule, in calls and
        in calls in reversed order, and say how far the ratings differ and whether to trust those in calls. 0 asks none.
      both_orders: of verdicts: ask twice, with either response first.
      trial: ask about so many questions at least, of random conversations, say how long all the others will take, and
        stop; 0 asks everything.
      model: its name on the server.
      revision: what else identifies the model, e.g. its hash; ratings of another revision are not reused.
      api: "chat", or "completions" for raw next-token log-probabilities.
      tokenizer: of api "completions", and for exact token counts: a folder or .gguf file, or a uri; its chat template
        makes the prompt, sent as token ids. "" sends plain text, and guesses token counts.
      top: likely tokens that the server lists.
      extra: more fields of every request, as a JSON object; null leaves a field out, and {"max_completion_tokens": 64}
        takes the place of max_tokens.
      most_other: probability on none of the offered answers above which an answer counts as unparsable.
      hopeless: the run ends after so many answers in a row without a rating; 0 never does.
      journal: file of all answers; journal.sqlite in the work directory by default. Several runs can share it.
      prices: per million prompt tokens, per million answer tokens; for the estimate.
      server: addresses, key variable, limits, retries.
      policy: how often a question without a rating is asked again.
    """

    kind: str = "server"
    pool: str = ""
    rules_of: str = ""
    most_rules: int = 5
    prompt: str = "yes_no_irrelevant.1"
    system_role: bool = True
    rules_per_call: int = ISOLATED
    structured: str = SCHEMAS[0]
    halo_sample: int = no_result(0)
    both_orders: bool = False
    model: str = ""
    revision: str = ""
    api: str = "chat"
    tokenizer: str = ""
    top: int = MOST_TOP
    extra: str = ""
    most_other: float = MOST_OTHER
    hopeless: int = no_result(MAX_FAILURES_IN_A_ROW)
    journal: str = ""
    prices: tuple[float, float] = no_result((0.0, 0.0))
    server: ServerSettings = field(default_factory=ServerSettings)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    trial: int = no_result(0)

    @property
    def call_size(self) -> int:
        """`rules_per_call` of judges that are asked in words; a table and a reward model have ratings of each rule."""
        return self.rules_per_call if self.kind in ASKED else ISOLATED

    @property
    def on_pairs(self) -> bool:
        """Whether verdicts on pairs are wanted, and no ratings."""
        return self.prompt in PAIR_PROMPTS

    def check(self) -> None:
        """Raises InputError."""
        one_of("judge.kind", self.kind, KINDS)
        prompts = PROMPTS | PAIR_PROMPTS
        one_of("judge.prompt", self.prompt, list(prompts))
        if self.on_pairs:
            one_of("judge.kind", self.kind, ASKED)
            require("judge.rules_of", not self.rules_of, "is empty: a verdict on a pair is about no rule")
        one_of("judge.api", self.api, ("chat", "completions"))
        if self.kind == "local":
            one_of("judge.prompt", self.prompt, [name for name, prompt in prompts.items() if prompt.answers])
        self._check_calls()
        require("judge.trial", self.trial >= 0, "is not negative")
        require("judge.trial", not (self.trial and self.kind == "batch"), "is 0: batch files are not asked one by one")
        if self.kind in ("server", "batch") and not self.model:
            raise InputError("is empty", where="config.judge.model", fix="give --config.judge.model=NAME")
        require("judge.most_rules", self.most_rules >= 1, "is at least 1")
        require("judge.top", 1 <= self.top <= MOST_TOP, f"is 1 to {MOST_TOP}")
        require("judge.prices", len(self.prices) == 2 and min(self.prices) >= 0, "is two prices, not negative")
        require("judge.most_other", 0 < self.most_other <= 1, "is above 0 and at most 1")
        require("judge.hopeless", self.hopeless >= 0, "is not negative")
        check_extra(self.extra_fields(), "config.judge.extra")
        check_keyless(self.extra, self.server.key_variable, "config.judge.extra")
        self.server.check("config.judge.server")
        self.policy.check("config.judge.policy")

    def _check_calls(self) -> None:
        one_of("judge.structured", self.structured, SCHEMAS)
        require("judge.rules_per_call", self.rules_per_call >= 0, "is not negative; 0 asks about all rules at once")
        require("judge.halo_sample", self.halo_sample >= 0, "is not negative; 0 measures nothing")
        if self.call_size == ISOLATED:
            require("judge.halo_sample", not self.halo_sample, "is 0 where every rule is asked about by itself")
            return
        require("judge.halo_sample", not (self.halo_sample and self.kind == "batch"), "is 0: batch files are not asked")
        where = "config.judge.rules_per_call"
        problems = {
            self.on_pairs: ("is other than 1, and a verdict on a pair is about no rule", "leave it out"),
            bool(self.rules_of): (
                "is other than 1, and with rules_of every comparison has rules of its own; ratings of a rule beside "
                "different rules cannot be compared",
                "leave one of the two out",
            ),
        }
        if True in problems:
            raise InputError(problems[True][0], where=where, fix=problems[True][1])

    def journal_in(self, workdir: Path) -> Path:
        """Where answers are kept: outside of any stage's folder, which a changed setting empties."""
        return Path(self.journal) if self.journal else workdir / "journal.sqlite"

    def extra_fields(self) -> dict:
        """`extra`, parsed.

        Raises:
          InputError: it is no JSON object.
        """
        fix = """write e.g. '{"seed": 0}'"""
        return decode_json(self.extra or "{}", dict[str, object], where="config.judge.extra", fix=fix)


@dataclasses.dataclass
class RatingConfig(RunConfig):
    """Every response of a set of comparisons, rated on every rule of a pool, or on those that an adapter predicts.

    Attributes:
      data: what is rated.
      model: of judge "local": its path and dtype; buckets are of conversations, without instructions and rules. Of
        judge "model" the path alone.
      mesh: of judges "local" and "model": how the devices share the model and its rows.
      judge: who rates.
      compose: how rules' entropies are computed.
      fetch_backbone: of judge "model": fetch the backbone that the model's own files name, wherever it is.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    compose: CompositionSettings = field(default_factory=CompositionSettings)
    fetch_backbone: bool = False

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.{'verdicts' if self.judge.on_pairs else 'rating'}"

    def check(self) -> None:
        """Checks every choice that can be checked without data.

        Raises:
          InputError: naming the field and what it may be.
        """
        self.data.check()
        self.model.check()
        check_mesh(self.mesh)
        self.judge.check()
        if self.judge.kind == "model" and not self.model.path:
            raise InputError("is empty", where="config.model.path", fix="give --config.model.path=FOLDER")
        check_composition(self.compose)
