"""From files to a recipe: parents are resolved, merged and checked as one, and every mistake names the file it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import QConvertError, fail
from .check import decode, not_a_mapping
from .hints import did_you_mean, nearest
from .parse import parse, read_file
from .tree import Item, Mistake, Place, SourceMap, merge, refuse
from .types import Recipe
from .vocabulary import Vocabulary

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A recipe and where each part of it was written."""

    recipe: Recipe
    source: SourceMap


def load_recipe(path: Path, vocabulary: Vocabulary, presets: Path) -> Recipe:
    """Read a recipe file with everything that it extends.

    Args:
        path: the file.
        vocabulary: the names that recipes may use.
        presets: folder of `<target>.yaml`.

    Raises:
        QConvertError: all mistakes at once, each with `file:line:column`.
    """
    return read_recipe(path, vocabulary, presets).recipe


def read_recipe(path: Path, vocabulary: Vocabulary, presets: Path) -> Loaded:
    """As `load_recipe`, together with the places in the files.

    Raises:
        QConvertError: all mistakes at once.
    """
    return parse_recipe(read_file(path), str(path), vocabulary, presets)


def parse_recipe(content: bytes | str, file: str, vocabulary: Vocabulary, presets: Path) -> Loaded:
    """As `read_recipe` for content that is at hand; `file` is its name in messages and the base of a relative `extends`.

    Raises:
        QConvertError: all mistakes at once.
    """
    chain = _Chain(vocabulary, presets)
    root = chain.document(content, Path(file), ())
    if root is None:
        raise refuse(chain.mistakes, chain.files)
    recipe, mistakes = decode(root, vocabulary)
    known = {m.place for m in chain.mistakes}  # a value that cannot be read is not judged again
    mistakes = [*chain.mistakes, *(m for m in mistakes if m.place not in known)]
    if recipe is None or mistakes:
        raise refuse(mistakes, chain.files)
    return Loaded(recipe, SourceMap(root, tuple(chain.files)))


def preset(target: str, vocabulary: Vocabulary, presets: Path) -> Recipe:
    """The recipe that comes with a target; a target without a file has the defaults.

    Raises:
        QConvertError: R010 for an unknown target.
    """
    if target not in vocabulary.targets:
        raise fail(
            "R010",
            f"unknown target: {target}",
            None,
            did_you_mean(target, vocabulary.targets) or f"known: {', '.join(vocabulary.targets)}",
        )
    path = presets / f"{target}.yaml"
    return load_recipe(path, vocabulary, presets) if path.is_file() else Recipe(target=target)


@dataclass
class _Chain:
    """Documents that extend each other, merged, with the mistakes in any of them."""

    vocabulary: Vocabulary
    presets: Path
    mistakes: list[Mistake] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def document(self, content: bytes | str, path: Path, trail: tuple[Path, ...]) -> Item | None:
        """A document on top of its parents, without its `extends`; None if it cannot be read."""
        parsed = parse(content, str(path))
        self.files.append(str(path))
        self.mistakes += parsed.mistakes
        root = parsed.root
        extends = root.child("extends") if root else None
        if root is None or extends is None or not isinstance(extends.value, str | None):
            return root
        root = root.with_value({name: item for name, item in root.value.items() if name != "extends"})
        parent = self.parent(extends, path, (*trail, path)) if extends.value is not None else None
        return root if parent is None else merge(parent, root)

    def parent(self, extends: Item, path: Path, trail: tuple[Path, ...]) -> Item | None:
        """The document that `extends` names; None with a mistake noted if there is none."""
        name = extends.value
        found = self.find(name, path)
        if found is None:
            if name in self.vocabulary.targets:
                return Item({"target": extends}, extends.place)
            self.mistakes.append(self.not_found(name, path, extends.place))
            return None
        if found.resolve() in [p.resolve() for p in trail]:
            circle = " -> ".join(str(p) for p in (*trail, found))
            self.mistakes.append(
                Mistake(
                    "R008", f"recipes extend each other in a circle: {circle}", extends.place, "remove one `extends`"
                )
            )
            return None
        try:
            content = read_file(found)
        except QConvertError as error:
            self.mistakes += [
                Mistake("R008", f"`{name}` {d.message}".replace("the recipe ", ""), extends.place, d.hint)
                for d in error.diagnostics
            ]
            return None
        return self.document_of_parent(content, found, trail)

    def document_of_parent(self, content: bytes, path: Path, trail: tuple[Path, ...]) -> Item | None:
        """A parent, which must be a mapping to be merged."""
        root = self.document(content, path, trail)
        if root is not None and not isinstance(root.value, dict):
            self.mistakes.append(not_a_mapping(root))
            return None
        return root

    def find(self, name: str, path: Path) -> Path | None:
        """The file that `extends` means: a preset if one has the name, else a path relative to the file."""
        by_target = self.presets / f"{name}.yaml"
        with suppress(OSError, ValueError):
            if Path(name).name == name and by_target.is_file():
                return by_target
            if (path.parent / name).is_file():
                return path.parent / name
        return None

    def not_found(self, name: str, path: Path, place: Place) -> Mistake:
        """The mistake for an `extends` that leads nowhere, with the nearest thing that exists."""
        names = sorted({*self.vocabulary.targets, *_recipes(self.presets, stems=True), *_recipes(path.parent)})
        near = nearest(name, names)
        wanted = "no such file" if "/" in name or name.endswith(SUFFIXES) else "neither a preset nor a file"
        hint = f"did you mean `{near[0]}`?" if near else f"presets: {', '.join(self.vocabulary.targets)}"
        return Mistake("R008", f"`extends` names {wanted}: {name}", place, hint)


def _recipes(folder: Path, stems: bool = False) -> Iterator[str]:
    """Names of the YAML files in a folder."""
    with suppress(OSError):
        yield from (p.stem if stems else p.name for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES)
