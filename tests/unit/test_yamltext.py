"""What `-o yaml` prints is read again as what it was, whatever it holds."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from cni_chain.cli import yamltext
from tests.support.generated import steady

# Lone halves of characters can't be printed in any encoding.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LOOKS_LIKE_MORE = st.sampled_from(
    ["", "yes", "No", "~", "null", "1", "0x1f", "1e3", ".5", "2026-11-29", "1:30", "a: b", "- a", "a #b", "&a", "*a",
     "!tag", "%x", "@x", "`x", "'x'", '"x"', "a\nb", "a\nb\n", "a\n\n\nb\n\n", " a\nb", "\na", "a\n b", "a\n\tb", "a ",
     "/etc/cni", "=", "<<", "a\x85b\nc", "a\u2028b\nc", "\ufeffa\nb", "---\nb", "...\nb", "# a\nb",
     "a\r\nb", "Infinity"]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    LOOKS_LIKE_MORE,
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.one_of(TEXT, LOOKS_LIKE_MORE), inner)),
    max_leaves=20,
)


@steady
@given(st.dictionaries(TEXT, DOCUMENTS))
def test_whatever_json_can_say_is_read_again_as_it_was(document: dict[str, Any]) -> None:
    assert yaml.safe_load(yamltext.text(document)) == document


def test_it_is_written_for_people() -> None:
    document = {
        "kind": "show",
        "facades": [{"file": "/etc/cni/net.d/a.conflist", "errors": [], "types": ["portmap", "no"]}, {}],
        "content": '{\n  "type": "portmap"\n}\n',
        "newPod": None,
        "lists": [["a"], []],
    }

    assert yamltext.text(document) == (
        "kind: show\n"
        "facades:\n"
        "  - file: /etc/cni/net.d/a.conflist\n"
        "    errors: []\n"
        "    types:\n"
        "      - portmap\n"
        '      - "no"\n'
        "  - {}\n"
        "content: |\n"
        "  {\n"
        '    "type": "portmap"\n'
        "  }\n"
        "newPod: null\n"
        "lists:\n"
        "  -\n"
        "    - a\n"
        "  - []\n"
    )
