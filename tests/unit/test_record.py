"""Records: what survives a writer that is killed, and what is no record."""

from __future__ import annotations

import json

import pytest

from cni_chain.record import Attachment, Record, Step, parse


def a_record(steps: int = 3) -> Record:
    made = [
        Step(
            owner="o",
            type=f"t{index}",
            path="/etc/x",
            conf={"type": f"t{index}", "big": 9007199254740993},
            capabilities=["dns"],
            version="1.0.0",
            disable_check=False,
            on_del_error="retry",
        )
        for index in range(steps)
    ]
    return Record(Attachment("net", "c1", "eth0"), made, {"path": "/bin", "netns": "/n", "cniArgs": ""}, 1.5)


def later(record: Record, pending: list[int], result: dict[str, object] | None) -> bytes:
    record.pending, record.result = pending, result
    return b"\n" + record.line()


def test_a_record_is_read_as_it_was_written() -> None:
    record = a_record()

    read = parse(record.text())

    assert json.loads(record.text()) == json.loads(read.text())
    assert read.pending == [0, 1, 2]


def test_the_last_complete_line_counts() -> None:
    record = a_record()
    text = record.text()
    text += later(record, [0, 1, 2], {"cniVersion": "1.0.0"})
    text += later(record, [0, 1], {"cniVersion": "1.0.0", "ips": []})

    assert parse(text).pending == [0, 1]


def test_a_line_cut_short_anywhere_leaves_the_state_before_it() -> None:
    record = a_record()
    whole = record.text() + later(record, [0, 1], None)
    last = later(record, [0], None)

    for length in range(1, len(last)):
        assert parse(whole + last[:length]).pending == [0, 1], length
        assert parse(whole + last[:length] + later(record, [0], None)).pending == [0], length


def test_a_record_whose_intent_was_cut_short_is_damaged() -> None:
    text = a_record().text()

    for length in range(len(text)):
        with pytest.raises(ValueError, match="cut short in its first line"):
            parse(text[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "cni-chain/0"},
        {"steps": None},
        {"steps": [{}]},
        {"pending": [3]},
        {"pending": [True]},
        {"pending": None},
        {"created": "today"},
        {"call": {}},
        {"result": {"ips": [{"address": "here"}]}},
    ],
)
def test_a_record_of_another_kind_or_shape_is_damaged(change: dict[str, object]) -> None:
    document = {**json.loads(a_record().text()), **change}

    with pytest.raises(ValueError, match=r"."):
        parse(json.dumps(document).encode() + b"\n")


def test_an_attachment_with_an_endless_id_gets_a_file_name_of_its_own() -> None:
    one, other = (Attachment("net", "x" * 300 + end, "eth0").file for end in "ab")

    assert one != other
    assert max(len(one), len(other)) < 200
    assert Attachment("net", "c1", "eth0").file == "net:c1:eth0"
