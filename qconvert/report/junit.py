"""JUnit XML: every gate, every proof and every check of the run as a test case."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..evaluate.model import GateResult
from ..verify.model import SessionProof
from .record import Problem, RunRecord
from .rows import urgent
from .verdict import sentence
from .words import clean, decibel


def to_junit(record: RunRecord) -> str:
    """The run as test suites `gates`, `proofs` and `messages`."""
    suites = [
        _suite(record, "gates", [_gate(record, gate) for gate in record.gates]),
        _suite(record, "proofs", [_proof(record, proof) for proof in record.proofs]),
        _suite(record, "messages", [_problem(record, found) for found in urgent(record)]),
    ]
    root = Element(
        "testsuites",
        {
            "name": clean(f"qconvert {record.target}"),
            **_totals(suites),
            "time": _seconds(s.seconds for s in record.stages),
        },
    )
    root.extend(suites)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(record: RunRecord, name: str, cases: list[Element]) -> Element:
    suite = Element("testsuite", name=name)
    suite.extend(cases)
    for key, number in _counts(cases).items():
        suite.set(key, str(number))
    properties = Element("properties")
    for key, value in {"model": record.model.path, "target": record.target, "verdict": sentence(record)}.items():
        SubElement(properties, "property", name=key, value=clean(value))
    suite.insert(0, properties)
    return suite


def _counts(cases: list[Element]) -> dict[str, int]:
    return {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }


def _totals(suites: list[Element]) -> dict[str, str]:
    return {
        key: str(sum(int(suite.get(key, 0)) for suite in suites)) for key in ("tests", "failures", "errors", "skipped")
    }


def _case(record: RunRecord, suite: str, name: str) -> Element:
    return Element("testcase", classname=clean(f"qconvert.{record.target}.{suite}"), name=clean(name), time="0")


def _gate(record: RunRecord, gate: GateResult) -> Element:
    case = _case(record, "gates", gate.name)
    if gate.passed:
        SubElement(case, "system-out").text = clean(gate.text)
    else:
        SubElement(
            case, "failure", type="G002" if gate.value is None else "G001", message=clean(gate.text)
        ).text = clean(gate.text)
    return case


def _proof(record: RunRecord, proof: SessionProof) -> Element:
    case = _case(record, "proofs", proof.name)
    SubElement(case, "system-out").text = f"{decibel(proof.sqnr_db)} against FP32 on {proof.samples} samples"
    return case


def _problem(record: RunRecord, found: Problem) -> Element:
    """Errors fail; warnings pass with their text."""
    case = _case(record, "messages", " ".join(filter(None, (found.code, found.where))))
    said = clean(found.message + (f"\nhint: {found.hint}" if found.hint else ""))
    if found.severity == "error":
        SubElement(case, "failure", type=clean(found.code), message=clean(found.message)).text = said
    else:
        SubElement(case, "system-out").text = said
    return case


def _seconds(times: Iterable[float]) -> str:
    total = sum(t for t in times if 0 <= t < float("inf"))
    return f"{total:.3f}"
