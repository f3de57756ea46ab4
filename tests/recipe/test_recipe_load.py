"""What recipes may say, and what is said about each mistake."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qconvert.data.settings import Resize
from qconvert.errors import QConvertError
from qconvert.recipe import Change, Match, Recipe, Rule, Vocabulary, chosen_algorithms, load_recipe, parse_recipe

Load = Callable[[str], Recipe]
Mistakes = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n", "null", "\ufeff", "dataset:\nrules:\nshapes:\ngates: {}\n"]
)
def test_a_recipe_that_says_nothing_has_all_defaults(load: Load, text: str) -> None:
    assert load(text) == Recipe()


def test_lists_whole_numbers_and_percentages_are_taken_as_meant(load: Load) -> None:
    recipe = load(
        """
target: arm-neon
dataset:
  preprocess: {resize: {size: [224, 256]}, scale: 1, mean: [0, 1.5e-3, 1e2]}
  inputs:
    input.1:
gates: {metric_drop: 1%, sqnr: 20, speedup: 150 %, int8_macs: 0.9}
rules:
  - {match: {op: [Conv, Gemm]}, set: {keep: float}}
algorithms: [bias-correction, rounding: {block: 32, axes: [0, 1]}]
evaluation: {metric: [top1, "own/metric.py:score"], latency: off}
report: [html]
"""
    )
    assert recipe.dataset.preprocess.resize == Resize(size=(224, 256))
    assert recipe.dataset.preprocess.mean == (0.0, 0.0015, 100.0)
    assert isinstance(recipe.dataset.preprocess.scale, float)
    assert list(recipe.dataset.inputs) == ["input.1"]
    assert (recipe.gates.metric_drop, recipe.gates.sqnr, recipe.gates.speedup) == (0.01, 20.0, 1.5)
    assert recipe.rules == (Rule(match=Match(op=("Conv", "Gemm")), set=Change(keep="float")),)
    assert recipe.evaluation.metric == ("top1", "own/metric.py:score")
    assert recipe.evaluation.latency is False


def test_names_that_yaml_would_convert_stay_names(load: Load) -> None:
    recipe = load(
        "shapes: {N: 1, on: 2, no: 3, 5: 4, null: 5}\ndataset: {labels: 'no', prepare: 2024-01-01, calibration: !!str yes}"
    )
    assert recipe.shapes == {"N": 1, "on": 2, "no": 3, "5": 4, "null": 5}
    assert (recipe.dataset.labels, recipe.dataset.prepare, recipe.dataset.calibration) == ("no", "2024-01-01", "yes")


def test_the_listed_algorithms_come_with_their_settings(load: Load, vocabulary: Vocabulary) -> None:
    pairs = chosen_algorithms(load("algorithms: [bias-correction, {rounding: {axes: [1]}}, {rounding: }]"), vocabulary)
    rounding = vocabulary.algorithms["rounding"]
    assert pairs == (
        ("bias-correction", vocabulary.algorithms["bias-correction"]()),
        ("rounding", rounding(axes=(1,))),
        ("rounding", rounding()),
    )
    assert chosen_algorithms(Recipe(), vocabulary) == ()


ONE = [
    # unknown and duplicate keys
    ("datset: {}", "R003 r.yaml:1:1 unknown key: datset | did you mean `dataset`?"),
    ("target: x86-vnni\nsamples: 3", "R003 r.yaml:2:1 unknown key: samples | did you mean `dataset.samples`?"),
    (
        "dataset:\n  preprocess: {size: 3}",
        "R003 r.yaml:2:16 unknown key: dataset.preprocess.size | did you mean `resize.size`?",
    ),
    (
        "calibration: {zzz: 3}",
        "R003 r.yaml:1:15 unknown key: calibration.zzz | known keys: method, percentile, weights, scales, given, read, write",
    ),
    ("<<: {mode: auto}", "R003 r.yaml:1:1 merge keys (`<<`) are not supported | write the keys out, or use `extends`"),
    ("mode: auto\n\nmode: static", "R004 r.yaml:3:1 key `mode` is already given in line 1 | keep one of them"),
    ("shapes: {a: 1, 'a': 2}", "R004 r.yaml:1:16 key `a` is already given in line 1 | keep one of them"),
    ("[a]: 1", "R005 r.yaml:1:1 a key must be text, not a list or mapping"),
    # values
    (
        "dataset:\n  samples: many",
        "R005 r.yaml:2:12 `dataset.samples` must be a whole number greater than 0, not text: many",
    ),
    ("dataset:\n  samples: 0", "R005 r.yaml:2:12 `dataset.samples` must be a whole number greater than 0, not 0"),
    ("dataset:\n  samples: 1.5", "R005 r.yaml:2:12 `dataset.samples` must be a whole number greater than 0, not 1.5"),
    (
        "dataset:\n  samples: true",
        "R005 r.yaml:2:12 `dataset.samples` must be a whole number greater than 0, not a truth value: true",
    ),
    (
        "mode: statik",
        "R005 r.yaml:1:7 `mode` must be one of `auto`, `static`, `dynamic`, `weight-only`, `codebook`, `float8`, `float16`, `bfloat16`, not text: statik | did you mean `static`?",
    ),
    ("version: 2", "R005 r.yaml:1:10 `version` must be `1`, not 2"),
    ("dataset: 3", "R005 r.yaml:1:10 `dataset` must be a mapping, not 3"),
    ("rules: {}", "R005 r.yaml:1:8 `rules` must be a list of mappings, not a mapping"),
    (
        "report: html",
        "R005 r.yaml:1:9 `report` must be a list of names of report formats, not text: html | write a list: [html]",
    ),
    ("target:", "R005 r.yaml:1:8 `target` must be the name of a target, not nothing"),
    (
        "dataset: {preprocess: {resize: {size: [1, 2, 3]}}}",
        "R005 r.yaml:1:39 `dataset.preprocess.resize.size` must be a whole number greater than 0 or a list of 2 whole numbers, not a list of 3",
    ),
    (
        "dataset: {preprocess: {mean: [1, x]}}",
        "R005 r.yaml:1:34 `dataset.preprocess.mean[1]` must be a number, not text: x",
    ),
    (
        "gates: {speedup: fast}",
        "R005 r.yaml:1:18 `gates.speedup` must be a number of at least 0 or a percentage such as `1%`, not text: fast",
    ),
    (
        "gates: {speedup: -1}",
        "R005 r.yaml:1:18 `gates.speedup` must be a number of at least 0 or a percentage such as `1%`, not -1",
    ),
    ("gates: {sqnr: 20%}", "R005 r.yaml:1:15 `gates.sqnr` must be a number, not text: 20%"),
    (
        "calibration: {percentile: 50}",
        "R005 r.yaml:1:27 `calibration.percentile` must be a number greater than 50 and at most 100, not 50",
    ),
    ("- target", "R005 r.yaml:1:1 a recipe must be a mapping of keys to values, not a list"),
    ("42", "R005 r.yaml:1:1 a recipe must be a mapping of keys to values, not a number"),
    # what YAML makes of unquoted text
    (
        "dataset:\n  labels: no",
        "R005 r.yaml:2:11 `dataset.labels` must be text, not a truth value: no"
        ' | YAML reads this as a truth value; write it in quotes if it is meant as text: "no"',
    ),
    (
        "dataset: {labels: 1e5}",
        'R005 r.yaml:1:19 `dataset.labels` must be text, not 1e5 | YAML reads this as a number; write it in quotes if it is meant as text: "1e5"',
    ),
    (
        "dataset: {samples: 0100}",
        "R005 r.yaml:1:20 YAML versions disagree on what number this is: 0100"
        ' | write a plain decimal number, or "0100" in quotes for text',
    ),
    (
        "dataset: {samples: 1:30}",
        'R005 r.yaml:1:20 YAML versions disagree on what number this is: 1:30 | write a plain decimal number, or "1:30" in quotes for text',
    ),
    ("gates: {sqnr: .inf}", "R005 r.yaml:1:15 a number must be finite: .inf"),
    ("gates: {sqnr: 1e999}", "R005 r.yaml:1:15 a number must be finite: 1e999"),
    ('dataset: {labels: "\\ud800"}', "R005 r.yaml:1:19 the text contains half of a surrogate pair"),
    ("shapes: !!set {}", "R005 r.yaml:1:9 YAML tags are not supported: tag:yaml.org,2002:set | remove the tag"),
    ("mode: !custom auto", "R005 r.yaml:1:7 YAML tags are not supported: !custom | remove the tag"),
    # missing keys, rules
    ("rules:\n  - match: {op: Conv}", "R006 r.yaml:2:5 `rules[0].set` is missing"),
    (
        "dataset:\n  preprocess:\n    resize: {mode: stretch}",
        "R006 r.yaml:3:13 `dataset.preprocess.resize.size` is missing",
    ),
    ("rules:\n  -", "R005 r.yaml:2:4 `rules[0]` must be a mapping, not nothing"),
    (
        "rules:\n  - {match: {name: 're:('}, set: {keep: float}}",
        "R005 r.yaml:2:20 `rules[0].match.name`: not a regular expression (missing ), unterminated subpattern at position 0): re:(",
    ),
    ("rules: [{match: {op: Conv}, set: {}}]", "R005 r.yaml:1:9 `rules[0]`: `set` changes nothing"),
    (
        "rules: [{match: {}, set: {keep: float}}]",
        'R005 r.yaml:1:9 `rules[0]`: `match` needs at least one condition, such as `name: "*"` for every node',
    ),
    (
        "rules: [{match: {op: [Conv, 3]}, set: {bits: 8}}]",
        'R005 r.yaml:1:29 `rules[0].match.op[1]` must be text, not 3 | YAML reads this as a number; write it in quotes if it is meant as text: "3"',
    ),
    # names of the vocabulary
    (
        "target: x86",
        "R010 r.yaml:1:9 `target` must be one of `x86-vnni`, `arm-neon`, `tensorrt`, `tflite-micro`, not: x86",
    ),
    (
        "target: ARM_NEON",
        "R010 r.yaml:1:9 `target` must be one of `x86-vnni`, `arm-neon`, `tensorrt`, `tflite-micro`, not: ARM_NEON | did you mean `arm-neon`?",
    ),
    (
        "calibration: {method: entropi}",
        "R005 r.yaml:1:23 `calibration.method` must be one of `mse`, `min-max`, `percentile`, `entropy`, not: entropi | did you mean `entropy`?",
    ),
    (
        "rules: [{match: {tensor: x}, set: {method: minmax}}]",
        "R005 r.yaml:1:44 `rules[0].set.method` must be one of `mse`, `min-max`, `percentile`, `entropy`, not: minmax | did you mean `min-max`?",
    ),
    (
        "evaluation: {metric: acc}",
        "R005 r.yaml:1:22 `evaluation.metric` must be one of `top1`, `map`, or `file.py:function`, not: acc",
    ),
    ("report: [html, pdf]", "R005 r.yaml:1:16 `report[1]` must be one of `html`, `md`, not: pdf"),
    (
        "algorithms: [roundin]",
        "R005 r.yaml:1:14 `algorithms[0]` must be one of `rounding`, `bias-correction`, not: roundin | did you mean `rounding`?",
    ),
    (
        "algorithms:\n  - foo: {a: 1}",
        "R005 r.yaml:2:5 `algorithms[0].foo` must be one of `rounding`, `bias-correction`, not: foo",
    ),
    (
        "algorithms: rounding",
        "R005 r.yaml:1:13 `algorithms` must be `auto`, `none` or a list of algorithms, not text: rounding | write a list: [rounding]",
    ),
    (
        "algorithms: [rounding: {blok: 3}]",
        "R003 r.yaml:1:25 unknown key: algorithms[0].rounding.blok | did you mean `block`?",
    ),
    (
        "algorithms: [rounding: {block: 0}]",
        "R005 r.yaml:1:32 `algorithms[0].rounding.block` must be a whole number greater than 0, not 0",
    ),
    ("algorithms: [rounding: 3]", "R005 r.yaml:1:24 `algorithms[0].rounding` must be a mapping, not 3"),
    (
        "algorithms:\n  - {rounding: {}, bias-correction: {}}",
        "R005 r.yaml:2:5 `algorithms[0]` must have one key, the name of an algorithm, not 2 | begin each algorithm with `- `",
    ),
    # not YAML
    ("dataset:\n\tsamples: 3", "R002 r.yaml:2:1 a tab is used for indentation | indent with spaces"),
    ("mode: [a\ntarget: b", "R002 r.yaml:2:7 a list `[` is never closed, or a comma is missing"),
    ("mode: 'auto", "R002 r.yaml:1:12 a quote is never closed | close the quote"),
    (
        "mode: a: b",
        "R002 r.yaml:1:8 a `:` is not expected here | put text that contains `: ` in quotes, or check the indentation",
    ),
    ("a: 1\n---\nb: 2", "R002 r.yaml:2:1 the file holds a second document after `---` | keep one document"),
    (
        "mode: *x",
        "R002 r.yaml:1:7 `*` refers to an anchor that does not exist | put text that begins with `*` in quotes",
    ),
    ("mode: @x", "R002 r.yaml:1:7 this character cannot start a value | put the value in quotes"),
    ("mode: a\x01", "R002 r.yaml:1:8 a control character is not allowed: '\\x01'"),
    ("mode: " + "[" * 40, "R002 r.yaml:1:38 nested deeper than 32 levels"),
    ("report: [&a html" + ", *a" * 65 + "]", "R002 r.yaml:1:275 more than 64 aliases"),
    ("report: &a [*a]", "R002 r.yaml:1:9 the recipe is too large once its aliases are written out"),
]


@pytest.mark.parametrize(("text", "expected"), ONE)
def test_one_mistake(mistakes: Mistakes, text: str, expected: str) -> None:
    assert mistakes(text) == [expected]


def test_all_mistakes_come_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    text = """
target: x86
dataset:
  samples: many
  labels: no
  labels: a.csv
rules:
  - match: {op: [Conv, 3], name: "re:["}
  - set: {bits: 9}
calibration: {methd: mse}
gates: {sqnr: .nan}
"""
    assert [m.split(" ")[:2] for m in mistakes(text)] == [
        ["R010", "r.yaml:2:9"],
        ["R005", "r.yaml:4:12"],
        ["R005", "r.yaml:5:11"],
        ["R004", "r.yaml:6:3"],
        ["R006", "r.yaml:8:5"],
        ["R005", "r.yaml:8:24"],
        ["R005", "r.yaml:8:34"],
        ["R006", "r.yaml:9:5"],
        ["R005", "r.yaml:9:17"],
        ["R003", "r.yaml:10:15"],
        ["R005", "r.yaml:11:15"],
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path, vocabulary: Vocabulary, presets: Path) -> None:
    (tmp_path / "large.yaml").write_text("# " + "x" * 1_000_001)
    (tmp_path / "latin.yaml").write_bytes(b"mode: auto\nmode: \xe9")
    expected = {
        "gone.yaml": ("R001", "gone.yaml"),
        ".": ("R001", ""),
        "large.yaml": ("R001", "large.yaml"),
        "latin.yaml": ("R002", "latin.yaml:2:7"),
    }
    for name, (code, where) in expected.items():
        with pytest.raises(QConvertError) as caught:
            load_recipe(tmp_path / name, vocabulary, presets)
        (found,) = caught.value.diagnostics
        assert (found.code, found.where) == (code, str(tmp_path / where))


def test_bombs_are_refused_quickly(mistakes: Mistakes) -> None:
    levels = "\n".join(
        f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" if i else "k0: &a0 [x, x, x, x, x, x, x, x]" for i in range(9)
    )
    assert any(m.startswith("R002") for m in mistakes(levels))
    assert mistakes("a: " + "{b: " * 20_000)[0].startswith("R002")
    assert mistakes("shapes:" + "".join(f"\n  k{i}: 1" for i in range(20_000))) == [
        "R002 r.yaml:10000:10 more than 20000 keys and values"
    ]


def test_places_of_a_loaded_recipe(vocabulary: Vocabulary, presets: Path) -> None:
    text = "rules:\n  - match: {op: Conv}\n    set: {keep: float}\n"
    source = parse_recipe(text, "f.yaml", vocabulary, presets).source
    assert source.where(("rules", 0, "match", "op")) == "f.yaml:2:17"
    assert source.where(("rules", 0, "match", "name")) == "f.yaml:2:12"
    assert source.where(("dataset", "samples")) == "f.yaml:1:1"


LIGHT = """
import sys, types, pathlib, qconvert
data = sys.modules["qconvert.data"] = types.ModuleType("qconvert.data")  # only its settings count here
data.__path__ = [str(pathlib.Path(qconvert.__file__).parent / "data")]
import qconvert.recipe
print(sorted({"onnx", "onnxruntime", "numpy"} & set(sys.modules)))
"""


def test_a_recipe_is_checked_without_the_heavy_libraries() -> None:
    assert (
        subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )
