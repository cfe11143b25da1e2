"""Words of the report explained, and names for the counts of a run."""

GLOSSARY = {
    "rule": "One safety criterion in words, on which every response can be rated.",
    "rating ψ": "What a judge, a person or a simulated one gave a response on one rule; oriented, so that 1 is best.",
    "score": "What a trained rule head says about a response.",
    "comparison": "Two responses to one prompt, of which people prefer one.",
    "entropy H": "How evenly a rule's ratings are spread over the levels, −Σ p log p over the training ratings; "
    "0 if all are alike.",
    "levels": "The evenly spaced values that ratings are sorted into before the entropy is taken; “levels used” "
    "counts the different values that a rule's ratings have.",
    "temperature τ": "How sharply weights follow entropy: weight ∝ exp(−H/τ). Large τ gives equal weights.",
    "ENCORE": "Composes rules by these weights, without training the weights on any preference.",
    "premise": "What ENCORE relies on: the higher a rule's entropy, the lower its accuracy, so r < 0.",
    "r": "Pearson's correlation between entropy and accuracy, over rules.",
    "accuracy": "Share of held-out comparisons in which the preferred response gets the higher reward. A tie counts "
    "half; “ties wrong” counts it as wrong.",
    "subset mean": "Mean of the accuracies of the subsets, each with the same say.",
    "95 % interval": "Over prompts: percentiles of a bootstrap that draws prompts, with all their comparisons, many "
    "times. Over rules: Fisher's interval of a correlation, as if other rules might have been chosen.",
    "points": "Difference of two accuracies in percent.",
    "uniform": "Equal weights for all rules.",
    "exchangeable": "Held-out prompts that might as well have been among those that the intervals were calibrated on. "
    "Only of such prompts do intervals hold as many ratings as is promised.",
    "out-of-fold": "A score by heads that did not see its prompt: the training prompts are parted into folds, and each "
    "fold is scored by heads trained on the others.",
    "loading": "How strongly a rule follows what the rules have in common, −1 to 1; estimated from the correlations of "
    "their score differences alone, without labels.",
    "agreement": "Weights ∝ loading / (1 − loading²) / spread: the best linear estimate of what the rules have in "
    "common. Refused where the pool splits into rules that agree among themselves only, or where there is too little "
    "in common to tell.",
    "agreement × entropy": "Those weights times ENCORE's.",
    "critical rules": "Every comparison decided by the r rules that differ most on it, as Rule Adapters (RAMO) label "
    "comparisons; “× loading” multiplies each difference by loading / spread before.",
    "random (Dirichlet)": "Weights drawn uniformly from all possible ones, many times; sd is over the draws.",
    "lowest-entropy selection": "Equal weights for the rules of lowest entropy, none for the others.",
    "inverse variance": "Weights ∝ 1 / variance of the ratings.",
    "Bradley-Terry weights": "Weights fitted to the preferences of the training comparisons.",
    "rule-based reward (hinge)": "Weights fitted to the same preferences by a hinge loss, as OpenAI fits rule-based "
    "rewards.",
    "ArmoRM gate": "Weights that a small network chooses for every prompt, trained on the training comparisons, "
    "exactly as published.",
    "ArmoRM gate, balanced": "The same, but its scale begins where equal weights give margins of root mean square 1. "
    "From the published 1 it cannot grow enough for small margins, and the gate ends on the one rule of largest mean "
    "margin.",
    "single Bradley-Terry head": "One head on the backbone's features, trained on the same preferences; no rules.",
    "untouched backbone": "The reward head that the backbone came with, where it has one.",
    "LLM judge": "A language model's verdicts on the comparisons, read from a file.",
    "p by prompts": "How often a difference at least as large would come from flipping the sign of whole prompts at "
    "random. McNemar's test asks the same of single comparisons, which is too sure of itself where they share prompts.",
    "Holm, BH": "p-values corrected for all methods, or pairs, of a view: Holm bounds the chance of any false alarm, "
    "Benjamini and Hochberg the share of false alarms.",
    "design effect": "How many times more comparisons it takes because comparisons share prompts.",
    "probability of being right more often": "Given the labels, that a weighting agrees with people more often than "
    "equal weights: a sign test on the labelled pairs on which the two differ. 50 % says that they do equally well, or "
    "that too few labels tell.",
    "oracle": "Chosen from the very labels it is judged by: an upper mark, never an attainable result.",
    "human-rated": "Ratings by people.",
    "as-rated": "Ratings of the compared responses themselves, as the data give them, whoever rated.",
    "model-rated": "Scores by a model that was trained on ratings.",
    "semi-synthetic": "Real comparisons and human ratings, but simulated judges in between.",
    "passport": "All that a score depends on besides the weights.",
}

COUNT_NAMES = {
    "rated_responses": "rated responses",
    "comparisons": "comparisons",
    "rated_rows_read": "rated responses read",
    "comparison_rows_read": "comparisons read",
    "rated_rows": "rows of ratings",
    "comparison_rows": "rows of comparisons",
    "rated_rows_skipped": "rows of ratings skipped",
    "comparison_rows_skipped": "rows of comparisons skipped",
    "fields_not_read": "fields that no reader knows, and how often each holds something",
    "rating_scale": "lowest and highest rating of the files, mapped to 0 to 1",
    "columns": "which columns of the table count as rules",
    "sources": "SHA-256 of the source",
    "texts": "different texts (prompt and response)",
    "dropped": "texts dropped as too long",
    "tokens": "tokens through the backbone, padding and the over-refusal probe included",
    "useful": "of these, tokens of text",
    "separate": "tokens of text, had no prompt been shared",
    "rated_responses_dropped_too_long": "rated responses dropped as too long",
    "rated_responses_for_training": "rated responses for training",
    "heads_at_largest_penalty": "ratings of a rule whose head has the largest penalty",
    "comparisons_dropped_too_long": "comparisons dropped as too long",
    "texts_refused_by_template": "texts that the chat template refuses, left out",
    "first_refused_by_template": "the first text that the chat template refuses",
    "texts_hidden_by_template": "texts of which the chat template does not print every message",
    "first_hidden_by_template": "the first of them",
    "rated_responses_refused_by_template": "rated responses that the chat template refuses, left out",
    "comparisons_refused_by_template": "comparisons that the chat template refuses, left out",
}
"""Of `counts` in the results; others are shown under their own name."""
