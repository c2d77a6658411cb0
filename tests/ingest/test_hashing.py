from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest.hashing import PERSONS, Keyring, dashed, keyring, visitor_number

RING = Keyring(b"secret")


def test_hashes_are_stable_for_ever() -> None:
    """What is stored must be found again: a change here is a change of every site's data."""
    assert RING.text("customer", "c-42") == "0186eb24-7fcf-b65a-5d61-2467ec9848ca"
    assert RING.visitor("v-1") == 4982207647135880242
    assert RING.passing_visitor(b"salt", "v-1") == -103817660660354547


def test_types_and_sites_have_hashes_of_their_own() -> None:
    ours = {RING.digest(person, "17") for person in PERSONS}
    theirs = {Keyring(b"another").digest(person, "17") for person in PERSONS}
    assert len(ours | theirs) == 2 * len(PERSONS)
    assert RING.visitor("v-1") != RING.passing_visitor(b"", "v-1")
    assert RING.passing_visitor(b"a", "v-1") != RING.passing_visitor(b"b", "v-1")


def test_the_three_forms_are_one_hash() -> None:
    digest = RING.digest("order", "B-17")
    assert RING.uuid("order", "B-17") == UUID(bytes=digest)
    assert RING.text("order", "B-17") == str(UUID(bytes=digest)) == dashed(digest)


@settings(deadline=None)
@given(st.text(), st.binary(max_size=64))
def test_any_text_has_a_hash(text: str, salt: bytes) -> None:
    assert len(RING.digest("lead", text)) == 16
    for number in (RING.visitor(text), RING.passing_visitor(salt, text)):
        assert -(2**63) <= number < 2**63
        assert number != 0


def test_no_visitor_is_number_zero() -> None:
    assert visitor_number(bytes(16)) == 2**63 - 1
    assert visitor_number(b"\xff" * 16) == -1
    assert visitor_number(bytes(7) + b"\x01" + bytes(8)) == 1


def test_hashing_one_text_does_not_change_the_next() -> None:
    first = RING.visitor("a"), RING.passing_visitor(b"s", "a"), RING.digest("lead", "a")
    RING.visitor("b")
    RING.passing_visitor(b"s", "b")
    assert (RING.visitor("a"), RING.passing_visitor(b"s", "a"), RING.digest("lead", "a")) == first


def test_a_sites_keyring_is_made_once() -> None:
    assert keyring(b"secret") is keyring(b"secret")
    assert keyring(b"secret").visitor("v") == RING.visitor("v")
