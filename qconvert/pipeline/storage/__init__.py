"""Files of a run: outputs that are staged and renamed into place, results that a cache keeps, and the word of what was read.

`staging` writes and refuses, `cache` keeps bytes under a hash (`cached_outputs` those of the FP32 model, `cached_steps` those of
the algorithms), `fresh` knows whether there is anything to do. All but the cached results load the standard library only.
"""
