"""From a plan and data to the best draft, and from a draft to a file.

`data.open_data` opens the samples, `statistics.statistics` runs over them once, `drafts.drafted` makes the first draft and lets
the recipe's algorithms (`accuracy`) improve it within what 16-bit floats hold (`half`); `forms.form_of` knows how drafts become
files of a kind.
"""
