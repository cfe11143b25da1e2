"""The rules that two published sets of attribute ratings are about, in this project's words."""

from encore_jax.rules.rule import Rule, RulePool

HELPSTEER2 = RulePool(
    (
        Rule("helpfulness", "The response helps with what the prompt asks for."),
        Rule("correctness", "The response holds every fact that matters, and no wrong one."),
        Rule("coherence", "The response is clear and does not contradict itself."),
        Rule("complexity", "Only somebody who knows the subject well could have written the response."),
        Rule("verbosity", "The response goes into much detail for what the prompt asks."),
    ),
    name="helpsteer2",
)
"""The columns of HelpSteer2. Complexity and verbosity are neither good nor bad; they are kept as given."""

ULTRAFEEDBACK = RulePool(
    (
        Rule("instruction_following", "The response does what the instruction asks, within its constraints."),
        Rule("honesty", "The response is as sure of itself as its truth warrants."),
        Rule("truthfulness", "The response makes no claim that is false or made up."),
        Rule("helpfulness", "The response is correct, informative and of use to who asks."),
    ),
    name="ultrafeedback",
)
"""The aspects of UltraFeedback."""
