"""What `tune` and `analyze` work with: drafts of many recipes, what one of them gives, and the files of a search.

`candidates.Workshop` builds drafts and makes once what recipes have in common, `meter.Meter` measures them, `tuned` writes.
"""
