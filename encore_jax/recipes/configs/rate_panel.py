"""A panel of judges: the same questions asked of two servers, and who of them can be trusted.

Command:   encore run rate_panel --config.data.path=pairs.jsonl \\
             --config.judges.first.model=NAME --config.judges.first.server.urls=http://HOST:8000 \\
             --config.judges.second.model=OTHER --config.judges.second.server.urls=http://OTHER_HOST:8000
           More judges, or others, in a file of your own: judges=panel_of(ann=PanelJudge(...), people=PanelJudge(
             kind="table", table=TableConfig(path="people.jsonl")), ...); --config.judges.first.prompt=numeric.1
             --config.judges.first.repeats=3 asks a judge three times, at a temperature, each with a seed of its own
Data:      comparisons in any format this project reads; the rules are the shipped pool safety_10 unless --config.pool
           names another one. Keys of hosted interfaces as in rate_server.py, for each judge its own
Hardware:  2 CPU cores for the client; whatever serves the models
Time:      the servers', one after the other; every judge says before it is asked how many requests and tokens there are
Expected:  the first line says whom to use. runs/rate_panel/report.html: loadings of every judge on every rule, whom the
           others follow, reliability of every rule, how many independent judges the panel is worth, what it loses
           without each. A server that cannot be reached is told before anybody is asked. Killed, the same command goes
           on, and asks nothing again that was answered: each judge has a journal below runs/rate_panel/answers/.
           runs/rate_panel/panel/ has the means as comparisons.jsonl and rated.jsonl, ready for the training configs
           (format encore), and ratings.parquet, a row for every judge, response and rule
"""

from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.panel_config import PanelConfig, PanelJudge, panel_of


def get_config() -> PanelConfig:
    """Two models, asked as in rate_server.py."""
    return PanelConfig(
        name="rate_panel",
        data=DataConfig(source="files", pool="safety_10"),
        judges=panel_of(first=PanelJudge(), second=PanelJudge()),
    )
