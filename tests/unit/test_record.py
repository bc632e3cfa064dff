"""Records: what survives a writer that is killed, and what is no record."""

from __future__ import annotations

import json

import pytest

from cni_chain.record import Attachment, Record, Step, _sealed, parse


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
    text += later(record, [0, 1, 2], {"cniVersion": "1.1.0"})
    text += later(record, [0, 1], {"cniVersion": "1.1.0", "ips": []})

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
        with pytest.raises(ValueError, match="^(empty|cut short in its first line)$"):
            parse(text[:length])


SHAPES: list[dict[str, object]] = [
    {"kind": "cni-chain/0"},
    {"steps": None},
    {"steps": [{}]},
    {"pending": [3]},
    {"pending": [True]},
    {"pending": [1, 1]},
    {"pending": None},
    {"created": "today"},
    {"created": True},
    {"call": {}},
    {"call": {"path": "/bin", "netns": "/n", "cniArgs": "", "runtimeConfig": "portMappings"}},
    {"call": {"path": "/bin", "netns": "/n\0", "cniArgs": ""}},
    {"call": {"path": "\ud800", "netns": "/n", "cniArgs": ""}},
    {"result": {"ips": [{"address": "here"}]}},
    {"result": {"cniVersion": None}},
    {"result": {"cniVersion": "1.0.0"}},
    {"result": "1.1.0"},
    {"ran": 4},
    {"error": {"msg": None}},
]
STEPS: list[dict[str, object]] = [
    {"capabilities": [["a"]]},
    {"capabilities": {"dns": True}},
    {"type": ".."},
    {"type": "a/b"},
    {"type": "a\0b"},
    {"version": ["1.0.0"]},
    {"conf": []},
    {"disable_check": 1},
]


def resealed(record: Record, change: dict[str, object]) -> bytes:
    """The record as a program would write it that means another thing by it: with a checksum that is right."""
    document = json.loads(record.text()) | change
    del document["crc"]
    return _sealed(document)


@pytest.mark.parametrize("change", SHAPES, ids=json.dumps)
def test_a_record_of_another_kind_or_shape_is_damaged(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(resealed(a_record(), change))


@pytest.mark.parametrize("change", STEPS, ids=json.dumps)
def test_so_is_one_with_a_step_of_another_shape(change: dict[str, object]) -> None:
    record = a_record()
    steps = json.loads(record.text())["steps"]

    with pytest.raises(ValueError, match=r"."):
        parse(resealed(record, {"steps": [steps[0] | change, *steps[1:]]}))


def test_a_flipped_bit_never_makes_another_record() -> None:
    """In the intent it is damage; in a later line the state before counts, in which nothing is done that isn't."""
    record = a_record()
    intent = record.text()
    text = intent + later(record, [0, 1], {"cniVersion": "1.1.0", "ips": []})
    whole = json.loads(parse(text).text())

    for bit in range(len(text) * 8):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = parse(bytes(flipped))
        except ValueError:
            assert bit < len(intent) * 8, f"bit {bit}: a line of the state took the intent with it"
            continue
        assert bit >= (len(intent) - 1) * 8, f"bit {bit}"
        assert read.pending in ([0, 1], [0, 1, 2])
        assert json.loads(read.text())["steps"] == whole["steps"]


def test_a_record_of_the_version_before_is_read_and_goes_on() -> None:
    """0.1.0 wrote no checksums, and not how many delegates ran: any may have been started."""
    record = a_record()
    old = json.loads(record.text()) | {"kind": "cni-chain/1"}
    for key in ("crc", "ran", "error"):
        del old[key]
    text = json.dumps(old).encode() + b"\n"
    state = {"state": "added", "pending": [0, 1, 2], "result": {"cniVersion": "1.1.0"}}
    before = text + b"\n" + json.dumps(state).encode() + b"\n"

    assert (parse(text).ran, parse(before).state) == (3, "added")
    assert parse(before + later(record, [0], None)).pending == [0]


def test_a_record_without_its_checksums_is_none_of_this_version() -> None:
    document = json.loads(a_record().text())
    del document["crc"]

    with pytest.raises(ValueError, match="with a checksum"):
        parse(json.dumps(document).encode() + b"\n")


def test_an_attachment_with_an_endless_id_gets_a_file_name_of_its_own() -> None:
    one, other = (Attachment("net", "x" * 300 + end, "eth0").file for end in "ab")

    assert one != other
    assert max(len(one), len(other)) < 200
    assert Attachment("net", "c1", "eth0").file == "net:c1:eth0"
