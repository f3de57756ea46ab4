"""The only place where the order of the stages is written.

Import what you need from its modules: a command such as `recipe check` loads neither calibration nor a runtime.
"""
