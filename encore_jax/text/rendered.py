"""Conversations that arrive as text, already rendered in the model's chat template.

RLHF stacks send what their policy's tokenizer printed: with padding, with or without BOS, and ending in an end-of-turn
token, or in the template's whole ending, or in nothing. What is scored must be exactly what the template itself would
have rendered, so the beginning and the end are put right; what is between them is left alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from encore_jax.errors import InputError
from encore_jax.text.chat_template import render_texts

_PROMPT, _ANSWER = "a question that nobody asks", "an answer that nobody gives"


class Template(NamedTuple):
    """What the chat template prints around every conversation whose last turn is an answer.

    Attributes:
      bos: what it begins with, if that is the beginning-of-sequence token; else "".
      answer: what it prints before the answer (the generation prompt).
      ending: what it prints after the answer.
      removable: tokens that may trail a conversation, or pad it in front.
    """

    bos: str
    answer: str
    ending: str
    removable: tuple[str, ...]


def read_template(tokenizer: Any) -> Template:
    """Finds out by rendering a conversation.

    Raises:
      InputError: the tokenizer has no template, or one that does not print answers as they are, after a generation
        prompt; conversations then have to arrive as messages.
    """

    def render(*turns, generation: bool = False) -> str:
        return render_texts(tokenizer, [turns], generation=generation)[0]

    ask, answer = {"role": "user", "content": _PROMPT}, {"role": "assistant", "content": _ANSWER}
    fix = "send messages instead of text"
    try:
        bare, prompt, whole = render(ask), render(ask, generation=True), render(ask, answer)
    except InputError as error:
        raise InputError(f"cannot be rendered: {error.problem}", where="chat template", fix=fix) from None
    header, ending = prompt.removeprefix(bare), whole.removeprefix(prompt + _ANSWER)
    if not header or header == prompt or ending == whole:
        raise InputError("does not print answers as they are after a generation prompt", where="chat template", fix=fix)
    bos = tokenizer.bos_token or ""
    special = {tokenizer.eos_token, tokenizer.pad_token, ending.strip()} - {None, ""}
    return Template(bos if bos and whole.startswith(bos) else "", header, ending, tuple(sorted(special)))


def normalize(text: str, template: Template) -> tuple[str, str]:
    """The conversation as the template would render it, in two parts: up to the last answer, and from it on.

    Raises:
      InputError: there is no answer in this template.

    >>> chat = Template("", "<|a|>", "<|end|>", ("<|end|>", "<|pad|>"))
    >>> normalize("<|pad|><|u|>Hi<|end|><|a|>No. <|end|><|pad|>", chat)
    ('<|u|>Hi<|end|><|a|>', 'No. <|end|>')
    """
    text = _strip(text, template)
    if template.bos and not text.startswith(template.bos):
        text = template.bos + text
    prompt, found, answer = text.rpartition(template.answer)
    if not found:
        raise InputError(
            f"there is no {template.answer!r} in it: not a conversation in this model's chat template",
            where="text",
            fix="render it with the reward model's own template and an answer, or send messages",
        )
    return prompt + found, answer + template.ending


def _strip(text: str, template: Template) -> str:
    """Without padding, and without the end of the last turn; blanks of the answer itself stay."""
    while start := next((t for t in template.removable if text.startswith(t) and t != template.bos), ""):
        text = text.removeprefix(start)
    while True:
        bare = text.rstrip()
        end = next((t for t in template.removable if bare.endswith(t)), "")
        if not end:
            return text
        text = bare.removesuffix(end)
