"""`qconvert cache info|clear`."""

from __future__ import annotations

import typer

from .options import CacheFolder, Json

app = typer.Typer(help="Show or empty the cache of statistics and FP32 outputs.")


@app.command()
def info(cache: CacheFolder = None, as_json: Json = False) -> int:
    """Show how full the cache is.

    Examples:

    qconvert cache info --cache ~/.cache/qconvert
    """
    import json

    from ..pipeline.storage.cache import cache_limit, open_cache
    from ..report.words import count, size

    found = open_cache(cache, cache_limit())
    usage = found.usage()
    if as_json:
        fields = {"folder": str(found.root), "entries": usage.entries, "bytes": usage.bytes, "limit": found.limit}
        print(json.dumps(fields))
    else:
        print(f"{found.root}: {count(usage.entries, 'file')}, {size(usage.bytes)} of {size(found.limit)}")
    return 0


@app.command()
def clear(cache: CacheFolder = None) -> int:
    """Remove every entry of the cache, and nothing else that may lie in its folder."""
    from ..pipeline.storage.cache import cache_limit, open_cache
    from ..report.words import count, size

    found = open_cache(cache, cache_limit())
    gone = found.clear()
    print(f"{found.root}: removed {count(gone.entries, 'file')}, {size(gone.bytes)}")
    return 0
