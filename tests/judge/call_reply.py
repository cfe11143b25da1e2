"""A sound reply about several rules, token by token, as servers send it."""

import itertools
import json
import math


def call_reply(likely=None, api="chat", *, text="", quote='"', **choice):
    """A reply that is one JSON object.

    Args:
      likely: of every letter the probabilities of tokens at the beginning of its value, the written one first.
      api: "chat" or "completions".
      text: written instead, without log-probabilities.
      quote: what the token of a value holds before the value itself, or '"' for a token that holds nothing else.
      choice: adds to the choice.
    """
    tokens = []
    for i, (name, probabilities) in enumerate((likely or {}).items()):
        before = {'"': ('": "', ""), ' "': ('":', ' "'), '": "': ("", '": "')}[quote]
        tokens += [("{" if not i else ", ", None), ('"', None), (name, None)]
        tokens += [(before[0], None)] if before[0] else []
        written = next(iter(probabilities))
        rest = "relevant" if written == "Ir" else ""
        tokens += [(before[1] + written, {before[1] + token: p for token, p in probabilities.items()})]
        tokens += [(rest, None)] if rest else []
        tokens += [('"', None)]
    tokens += [("}", None)] if tokens else [(text, None)]
    written = text or "".join(token for token, _ in tokens)
    listed = [probabilities or {token: 0.9} for token, probabilities in tokens]
    pairs = [[(token, math.log(p)) for token, p in one.items()] for one in listed]
    if api == "completions":
        logprobs = {"tokens": [token for token, _ in tokens], "top_logprobs": [dict(one) for one in pairs]}
        return {"choices": [{"index": 0, "text": written, "logprobs": logprobs} | choice]}
    content = [
        {"token": token, "logprob": one[0][1], "top_logprobs": [{"token": t, "logprob": p} for t, p in one]}
        for (token, _), one in zip(tokens, pairs, strict=True)
    ]
    message = {"role": "assistant", "content": written}
    return {"choices": [{"index": 0, "message": message, "logprobs": {"content": content}} | choice]}


def letters_in(body):
    """The letters of the rules that a request asks about."""
    text = json.dumps(body)
    return list(itertools.takewhile(lambda name: f"\\n{name}: " in text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
