"""A comparison as JUnit XML, as CI systems read it: one test case a route, a failure for each regression.

Owns the document: testsuites, testsuite, testcase, failure and skipped, with the attributes that Jenkins, GitLab and
GitHub's actions look at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from tracelens.lens import Comparison
from tracelens.lens.compare import KEY
from tracelens.lens.regressions import Regression
from tracelens.report import compare

# What XML 1.0 cannot hold, even as a reference.
NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(found: Comparison, regressions: Sequence[Regression], name: str) -> bytes:
    """Return the document. name: of the suite, which says what was compared."""
    failed = {regression.key: regression for regression in regressions}
    suites = ElementTree.Element("testsuites", name="tracelens compare")
    suite = ElementTree.SubElement(suites, "testsuite", name=_xml(name))
    tests = failures = skipped = 0
    for measures, nodes in compare.by_route(found.rows):
        calls = measures["calls"]
        whole = f"{calls['service']}.{calls['namespace']}" if calls["namespace"] is not None else calls["service"]
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(whole or "-"), name=_xml(calls["route"] or "-"), time="0"
        )
        tests += 1
        regression = failed.get(tuple(calls[part] for part in KEY))
        if regression is not None:
            failures += 1
            message = "; ".join(compare.sentence(row) for row in regression.rows)
            failure = ElementTree.SubElement(case, "failure", message=_xml(message), type=_xml(regression.rule))
            failure.text = _xml("\n".join(compare.sentences(measures, nodes)) or message)
        elif (verdict := compare.verdict(measures)) in compare.WITHOUT_VERDICT:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=verdict)
    counted = {"tests": tests, "failures": failures, "errors": 0, "skipped": skipped, "time": 0}
    for element in (suites, suite):
        element.attrib.update({key: str(value) for key, value in counted.items()})
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def _xml(text: str) -> str:
    return NO_XML.sub("\ufffd", text)
