"""The commands, and the only place where the order of the stages is written.

Each command is a module here: `convert` (`several` for many targets, `tracked` with word of what was read), `tune`, `analyze`,
`inspect`, `lint`, `evaluation`, `comparison`, `recipes`. `resolve` makes of what a user `asked` the `request`s. The packages hold the
stages, and each of their modules imports only from those to its left, which the import linter holds:
`storage`, `planning`, `drafting`, `models` | `recording`, `measuring`, `tuning`.
Import what you need from its modules: a command such as `recipe check` loads neither calibration nor a runtime.
"""
