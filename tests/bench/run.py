"""The same as `python -m tests.bench`, by path."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.bench.__main__ import main

    sys.exit(main())
