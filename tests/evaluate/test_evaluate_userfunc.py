"""Metrics that a user writes, good and bad ones."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from evaluate_models import FakeSamples, linear, samples_of

from qconvert.errors import QConvertError
from qconvert.evaluate import evaluate

ROWS = np.random.default_rng(3).normal(size=(10, 4)).astype(np.float32)
LABELS = [int(i) for i in ROWS[:, :3].argmax(axis=1)]
NOISY = (2, -2, 1)


@pytest.fixture
def run(tmp_path):
    """Evaluates with a file of functions and the names of those to use."""

    def run(code, *names, samples=None, progress=None, **sessions):
        (tmp_path / "mine.py").write_text(textwrap.dedent(code))
        specs = [n if n in {"top1"} else f"mine.py:{n}" for n in names or ("f",)]
        samples = samples or samples_of(ROWS, LABELS)
        before, after = sessions.get("before", linear()), sessions.get("after", linear(NOISY))
        return evaluate(before, after, samples, specs, tmp_path, progress=progress)

    return run


@pytest.fixture
def refused(run, tmp_path):
    """The diagnostic of a function that cannot be used: its place in the file, message, hint."""

    def refused(code, *names, **kwargs):
        with pytest.raises(QConvertError) as caught:
            run(code, *names, **kwargs)
        found = caught.value.diagnostics[0]
        assert found.code == "R012"
        return (found.where or "").replace(f"{tmp_path.resolve()}/", ""), found.message

    return refused


HITS = """
    import numpy as np

    def f(samples):
        hits = [int(np.argmax(outputs["y"])) == label for _, _, outputs, label in samples]
        return sum(hits) / len(hits)
"""


def test_it_equals_the_built_in_metric(run):
    mine, top1 = run(HITS, "f", "top1").metrics
    assert (mine.name, top1.name) == ("f", "top1")
    assert (mine.float_value, mine.value, mine.samples) == (top1.float_value, top1.value, 10)
    assert mine.drop == pytest.approx(top1.drop)
    assert mine.higher_is_better
    assert mine.interval is None


def test_order_is_that_of_the_recipe(run):
    assert [m.name for m in run(HITS, "top1", "f").metrics] == ["top1", "f"]


def test_what_it_sees(run, tmp_path):
    run(
        """
        import pathlib

        def f(samples):
            for name, inputs, outputs, label in samples:
                with open(pathlib.Path(__file__).parent / "log", "a") as log:
                    print(name, {k: (v.shape, str(v.dtype)) for k, v in inputs.items()}, list(outputs), label, file=log)
            return 1
        """,
        samples=FakeSamples(samples_of(ROWS, LABELS).samples[:2]),
    )
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == f"s0 {{'x': ((1, 4), 'float32')}} ['y'] {LABELS[0]}"
    assert [line.split()[0] for line in lines] == ["s0", "s1", "s0", "s1"]


def test_the_model_runs_while_it_iterates(run):
    reads: list[str] = []
    steps: list[tuple[int, int]] = []
    samples = FakeSamples(samples_of(ROWS, LABELS).samples, reads=reads)
    code = """
        def f(samples):
            return len([next(samples), next(samples)])
    """
    (metric,) = run(code, samples=samples, progress=lambda *s: steps.append(s)).metrics
    assert (metric.value, metric.samples) == (2, 2)
    assert reads == [f"s{i}" for i in range(10)] + ["s0", "s1"] * 2
    assert steps[-1] == (24, 40)


def test_labels_are_not_needed(run):
    code = "def f(samples): return sum(label is None for *_, label in samples)"
    assert run(code, samples=samples_of(ROWS)).metrics[0].value == 10


def test_lower_may_be_better(run):
    code = """
        def f(samples):
            return float(sum(abs(outputs["y"] - inputs["x"][:, :3]).sum() for _, inputs, outputs, _ in samples))
        f.higher_is_better = False
    """
    (metric,) = run(code).metrics
    assert not metric.higher_is_better
    assert metric.drop == metric.value - metric.float_value > 0


def test_named_numbers(run):
    code = """
        import numpy as np

        def f(samples):
            return {"count": len(list(samples)), "error": np.float32(0.5), "share": np.array(1.0), "fine": True}
        f.higher_is_better = {"error": False}
    """
    found = {m.name: (m.value, m.higher_is_better) for m in run(code).metrics}
    assert found == {"count": (10, True), "error": (0.5, False), "share": (1, True), "fine": (1, True)}


def test_exceptions_are_placed(refused):
    code = """
        import numpy as np

        def helper(x):
            return np.stack([x, x[:1]])[7]

        def f(samples):
            for _, _, outputs, _ in samples:
                helper(outputs["y"])
    """
    where, message = refused(code)
    assert where == "mine.py:5"
    assert message == "`f` raised IndexError: index 7 is out of bounds for axis 0 with size 2"


def test_exit_is_an_exception_like_any_other(refused):
    assert refused("import sys\ndef f(samples): sys.exit(3)") == ("mine.py:2", "`f` raised SystemExit: 3")


def test_wrong_arguments(refused):
    _, message = refused("def f(): return 1")
    assert message == "`f` raised TypeError: f() takes 0 positional arguments but 1 was given"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(samples): pass", "`f` returned nothing, not a number"),
        ("def f(samples): return 'high'", "`f` returned str 'high', not a number"),
        ("def f(samples): return [1, 2]", "`f` returned list [1, 2], not a number"),
        ("def f(samples): return {'a': None}", "`f` returned nothing for `a`, not a number"),
        ("n = []\ndef f(samples):\n    n.append(1)\n    return {str(len(n)): 1}", "`f` returned different names: 1 for FP32, 2 for the result"),
        ("def f(samples): return 1\nf.higher_is_better = 'yes'", "higher_is_better of `f` is str 'yes', not a boolean"),
        ("def f(samples): return {'f': 1, 'top1': 2}", "two metrics have the same name: top1"),
    ],
)  # fmt: skip
def test_answers_that_are_none(refused, code, message):
    names = ("f", "top1") if "top1" in code else ("f",)
    assert refused(code, *names)[1] == message


def test_a_generator_is_no_number(refused):
    assert refused("def f(samples):\n    yield 1")[1].startswith("`f` returned generator <generator object f")


def test_mistakes_in_the_name_come_before_any_run(tmp_path):
    reads: list[str] = []
    samples = FakeSamples(samples_of(ROWS, LABELS).samples, reads=reads)
    (tmp_path / "mine.py").write_text("x = 1")
    for name in ("gone.py:f", "mine.py:f", "mine.py:x", "unknown"):
        with pytest.raises(QConvertError) as caught:
            evaluate(linear(), linear(), samples, name, tmp_path)
        assert caught.value.diagnostics[0].code == "R012"
    assert reads == []


def test_errors_of_the_model_are_not_blamed_on_the_function(run):
    class Breaks:
        def __init__(self):
            self.session, self.left = linear(), 15

        def run(self, feed):
            self.left -= 1
            return self.session.run(feed if self.left > 0 else {})

    with pytest.raises(QConvertError) as caught:
        run(HITS, before=Breaks())
    assert caught.value.diagnostics[0].code == "M009"
