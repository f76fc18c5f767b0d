"""Runs the tests that Keras ships in its package, on classes of ours in the place of Keras's."""

import importlib
import unittest

import pytest


def collect(*modules):
    """One pytest parameter for each test method in Keras's test modules."""
    parameters = []
    for name in modules:
        suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name))
        for case in (case for group in suite for case in group):
            label = f"{name.rsplit('.', 1)[-1]}.{case._testMethodName}"
            parameters.append(pytest.param(type(case), case._testMethodName, id=label))
    return parameters


class _Result(unittest.TestResult):
    """Counts pytest.skip() in a test method as skipped, not as an error."""

    def addError(self, test, err):
        if issubclass(err[0], pytest.skip.Exception):
            self.addSkip(test, str(err[1]))
        else:
            super().addError(test, err)


def run(case_class, method):
    """Runs one test method; fails with its trace."""
    result = _Result()
    case_class(method).run(result)
    assert result.testsRun == 1
    for _, trace in result.errors + result.failures:
        pytest.fail(trace)
    for _, reason in result.skipped:
        pytest.skip(reason)
