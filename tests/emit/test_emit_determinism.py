"""Same inputs, same bytes: no order and no name may come from a hash or an address."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_emit_forms import made, residual

from qconvert.emit import EMITTERS
from qconvert.graph import serialize

SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
from test_emit_determinism import digests
print(digests())
"""


def digests() -> str:
    one = made(residual())
    return " ".join(hashlib.sha256(serialize(one.emit(form))).hexdigest() for form in EMITTERS)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_bytes_do_not_depend_on_the_process(seed: str) -> None:
    here = Path(__file__).parent
    paths = [str(here.parent), str(here), str(here.parents[1])]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digests()
