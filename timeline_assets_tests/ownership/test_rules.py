"""The rules as such: their order, and what none of them may look at."""

from __future__ import annotations

import inspect
import re

from timeline_assets.normalize.schema import FACT
from timeline_assets.ownership import rules


def test_the_rules_stand_in_the_order_of_the_design():
    assert [rule.__name__ for rule in rules.RULES] == [
        "provider_type",
        "target_is_tenant",
        "payload_owner",
        "resource_interval",
        "containment",
        "request_sibling",
        "request_path",
        "qualified_name",
        "name",
    ]


def test_no_rule_reads_an_actor():
    """Owner is not actor: the frame that rules are handed has no column that tells of one."""
    tells_of_actors = re.compile("actor|on_behalf")
    assert not [column for column in rules.READABLE if tells_of_actors.search(column)]
    assert [column for column in FACT if tells_of_actors.search(column)], "facts have such columns, rules get none"


def test_every_rule_says_what_it_goes_by():
    assert all(inspect.getdoc(rule) for rule in rules.RULES)
