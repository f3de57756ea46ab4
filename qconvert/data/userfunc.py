"""Functions of the user that a recipe names as `file.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import QConvertError, fail


def function_file(spec: str, base_dir: Path) -> Path:
    """The file part of `file.py:function`, relative paths from `base_dir`."""
    return base_dir / spec.rpartition(":")[0]


def load_function(spec: str, base_dir: Path) -> Callable[..., Any]:
    """Import a file and return one of its functions.

    The file is imported under a name of its own, so that it can use installed packages but no file beside it.

    Args:
        spec: `file.py:function`; a relative path starts at `base_dir`, the folder of the recipe.

    Raises:
        QConvertError: R012 (no such file or function, not callable, or the import failed).
    """
    file, _, name = spec.rpartition(":")
    if not file or not name.isidentifier():
        raise fail("R012", f"not of the form file.py:function: {spec}", hint="for instance `metrics.py:top1`")
    path = function_file(spec, base_dir)
    if not path.is_file():
        raise fail(
            "R012",
            f"no such file: {path}",
            hint="paths in a recipe start in its folder, those of `--set` in the working directory",
        )
    function = getattr(_import(path), name, None)
    if not callable(function):
        what = "not callable" if function is not None else f"no function `{name}` in the file"
        raise fail("R012", what, path, f"define `def {name}(...)` there, or correct the name behind the colon")
    return function  # type: ignore[no-any-return]


def user_error(spec: str, error: BaseException, where: str | None = None) -> QConvertError:
    """R012 for an exception that a user's function raised, with its last line in the user's code."""
    line, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if Path(code.co_filename).name == Path(spec.rpartition(":")[0]).name:
            line = f" in line {trace.tb_lineno}"
        trace = trace.tb_next
    text = f"`{spec}` raised {type(error).__name__}{line}: {error}"
    return fail("R012", text, where, "correct the function")


def _import(path: Path) -> object:
    name = f"qconvert_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise fail("R012", "not a Python file", path, "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise user_error(f"{path}:", error) from error
    return module
