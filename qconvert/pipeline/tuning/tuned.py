"""What a search writes: recipe, data, picture, and the state from which it can be resumed; each file in one step."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...optimize.sensitivity import Move
from ...recipe import Recipe, dump
from ...tune import Outcome, TuneResult
from ..storage.staging import Destination

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Names:
    """Files beside the model."""

    place: Destination

    @property
    def recipe(self) -> Path:
        """The winning recipe."""
        return self.place.folder / f"{self.place.stem}.recipe.yaml"

    @property
    def data(self) -> Path:
        """The search as JSON."""
        return self.place.folder / f"{self.place.stem}.tune.json"

    @property
    def picture(self) -> Path:
        """The trade-off as a page."""
        return self.place.folder / f"{self.place.stem}.tune.html"

    @property
    def state(self) -> Path:
        """What has been measured so far."""
        return self.place.folder / f"{self.place.stem}.tune-state.json"


def recipe_text(recipe: Recipe, result: TuneResult) -> str:
    """The winning recipe with a comment that says what was changed, and why."""
    trial = result.trials[result.winner]
    lines = [f"Found by `qconvert tune` for {result.model}: {'; '.join(result.goals)}."]
    lines += [f"  {step}, {step.reason}" for step in trial.steps]
    lines += [f"Not reached: {limit}" for limit in trial.limits]
    return "".join(f"# {line}\n" for line in lines) + dump(recipe)


def search_key(*parts: str) -> str:
    """Digest of everything on which the measurements depend."""
    return hashlib.sha256("\n".join((str(_VERSION), *parts)).encode()).hexdigest()


@dataclass
class Checkpoint:
    """Measurements by recipe; saved after each, so that an interrupted search loses one at most.

    Attributes:
        path: of the file; key: of model, data, recipe and goals.
    """

    path: Path
    key: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    proposals: dict[str, list[Move]] = field(default_factory=dict)

    def save(self) -> None:
        """Write the file in one step."""
        content = {
            "key": self.key,
            "outcomes": {name: found.model_dump(mode="json") for name, found in self.outcomes.items()},
            "proposals": {
                name: [step.model_dump(mode="json") for step in steps] for name, steps in self.proposals.items()
            },
        }
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(new, self.path)
        finally:
            new.unlink(missing_ok=True)

    def load(self) -> str | None:
        """Take over an earlier run's measurements; returns why not, None if it could."""
        try:
            content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            if content.get("key") != self.key:
                return "it belongs to another model, dataset, recipe or goal"
            self.outcomes = {name: Outcome.model_validate(found) for name, found in content["outcomes"].items()}
            self.proposals = {
                name: [Move.model_validate(s) for s in steps] for name, steps in content["proposals"].items()
            }
        except FileNotFoundError:
            return "no interrupted search left anything here"
        except (OSError, ValueError, KeyError, AttributeError) as error:
            return f"it cannot be read: {error}"
        return None


def recipe_key(recipe: Recipe) -> str:
    """A recipe's name in the state."""
    return hashlib.sha256(dump(recipe).encode()).hexdigest()
