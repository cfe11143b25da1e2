"""The benchmark beside llama.cpp's server, against a stand-in for it: what is asked, counted and refused."""

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.judge.question import Answer, Identity, Status, rating_questions
from encore_jax.rules import Rule, RulePool
from experiments.benchmarks import judge_llama
from experiments.benchmarks.llama_side import llama_server, stored_weights

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!{python}
import json, sys
sys.path.insert(0, {root!r})
from http.server import BaseHTTPRequestHandler, HTTPServer
from tests.judge.call_reply import call_reply, letters_in
from tests.judge.faulty_server import GOOD, chat

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send(dict(data=[]))
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body.get("response_format", dict(type="json_object"))["type"] == "json_object"
        names = letters_in(body)
        likely = dict.fromkeys(names, dict(Yes=0.5, No=0.25))
        reply = call_reply(likely) if "response_format" in body else chat(GOOD)
        words = len(json.dumps(body["messages"]).split())
        self.send(reply | dict(usage=dict(prompt_tokens=words, completion_tokens=6 * len(names) or 1)))
    def send(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *said):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "llama-server-stand-in"
    path.write_text(STAND_IN.format(python=sys.executable, root=str(ROOT)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class Local:
    """Says 0.5 to everything."""

    identity = Identity("local", "m", scale=(-1.0, 1.0))

    def answers(self, questions):
        for question in questions:
            assert not question.call
            yield question, Answer(Status.OK, rating=0.5)


def test_both_sides_answer_the_same_questions_and_tokens_are_counted(program, tmp_path):
    pool = RulePool([Rule(f"r{i}", f"It is number {i}.") for i in range(10)])
    talk = Message("user", "What is the capital of France? " * 10)
    questions = list(rating_questions([Comparison((talk,), ("Paris.", "Rome."), 0)], pool, 0))
    with llama_server(program, tmp_path / "model.gguf", threads=1, context=99) as url:
        found = judge_llama.side_by_side(Local(), url, questions, rounds=2)
        some = judge_llama.side_by_side(Local(), url, questions, rounds=1, sample=3)
    assert found["questions"] == {"ours": 20, "llama": 20} and found["both_rated"] == 20
    assert found["max_rating_difference"] == pytest.approx(0.125) and len(found["ratio_by_round"]) == 2
    assert found["ratio"] == pytest.approx(found["ours_per_second"] / found["llama_per_second"], rel=0.1)
    assert some["questions"] == {"ours": 20, "llama": 6} and some["both_rated"] == 6, "three about each response"
    assert some["one_call"]["share_of_tokens"] == pytest.approx(found["one_call"]["share_of_tokens"], rel=0.1)
    call = found["one_call"]
    assert call["rules"] == 10 and call["rated"] == 20 and call["problems"] == []
    assert call["share_of_tokens"] == pytest.approx(
        call["tokens_of_one_call"] / call["tokens_of_isolated_calls"], abs=1e-3
    )
    assert call["share_of_tokens"] < 0.25
    many = [questions[0]._replace(call=pool.rules * 3)]
    assert judge_llama._one_call(None, many, None, 1.0) is None, "30 rules are not asked in one call"


def test_its_lines_have_a_section_of_their_own():
    from experiments.published import _lines

    found = {"rounds": 1, "safety_10": {"F32": {"ratio": 2.0}}, "safety_100": {"F32": {"ratio": 3.0}}}
    assert _lines(f"safety_10 F32 ...\n{json.dumps(found)}\n")[0] == "llama throughput"
    assert _lines(json.dumps({"safety_100": {"rules": 100}}))[0] == "judge throughput"


def test_a_server_that_cannot_be_started_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be started.*--llama-server=PYTHON"):
        with llama_server(str(tmp_path / "none"), tmp_path / "m", threads=1, context=9):
            pass
    with pytest.raises(InputError, match="does not answer; it says .*No module named 'llama_cpp_none'|llama_cpp"):
        broken = tmp_path / "python"
        broken.write_text(f"#!/bin/sh\nexec {sys.executable} -m llama_cpp_none.server\n")
        broken.chmod(0o755)
        with llama_server(str(broken), tmp_path / "m", threads=1, context=9):
            pass


def test_weights_mean_the_same_however_they_are_stored(tmp_path):
    import gguf

    rng, source = np.random.default_rng(0), tmp_path / "q8.gguf"
    matrix, norm = rng.normal(size=(4, 64)).astype(np.float32), rng.normal(size=64).astype(np.float32)
    writer = gguf.GGUFWriter(source, "llama")
    writer.add_context_length(128)
    quantised = gguf.quantize(matrix, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("w.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("norm.weight", norm)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    means = gguf.dequantize(quantised, gguf.GGMLQuantizationType.Q8_0)
    assert stored_weights(source, "Q4", tmp_path) == source
    for kind, types in (("F32", ("F32", "F32")), ("F16", ("F16", "F32"))):
        reader = gguf.GGUFReader(stored_weights(source, kind, tmp_path))
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        assert tuple(tensors[name].tensor_type.name for name in ("w.weight", "norm.weight")) == types
        exact = means if kind == "F32" else means.astype(np.float16)
        np.testing.assert_array_equal(np.asarray(tensors["w.weight"].data).reshape(4, 64), exact)
        assert reader.get_field("llama.context_length").contents() == 128
