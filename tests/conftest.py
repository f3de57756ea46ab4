"""Shared by all tests: this folder is on the path, so that tests in sub-folders import its helpers."""
