# SPDX-License-Identifier: MIT
"""The kernel's own symbol table, in each encoding that there has been."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recorded import each_golden, memory, vmcoreinfo
from support.space import Space
from support.space import vmcoreinfo as keys
from support.wordsizes import machines

from oldmemfs.errors import FaultError, FormatError
from oldmemfs.kernel.kallsyms import addresses
from oldmemfs.kernel.kernel import Kernel
from oldmemfs.kernel.taint import letters, mask_of, read_taint
from oldmemfs.kernel.vmcoreinfo import Vmcoreinfo

TEXT, NAMES, TOKENS, INDEX, OFFSETS, NUMBERS = range(0xC0000000, 0xC0600000, 0x100000)
LONG = "x" * 200  # more than 127 tokens: its length takes two bytes
SYMBOLS = [
    ("A", "fixed_percpu_data", 0), ("T", "_stext", TEXT), ("T", LONG, TEXT + 0x10),
    ("t", "start_kernel", TEXT + 0x500), ("T", "_stext", TEXT + 0x600),
    ("b", "tainted_mask", NUMBERS + 0x800), ("D", "last", NUMBERS + 0xFFF0),
]  # fmt: skip
ENCODINGS = ["absolute", "base", "percpu", "place"]


def build(space: Space, encoding: str) -> Vmcoreinfo:
    """The tables of ``SYMBOLS``, and what VMCOREINFO says of them."""
    texts = [bytes((i,)) if 0 < i < 128 else b"" for i in range(256)]
    texts[200:203] = [b"T_", b"stext", b"tainted_"]
    table, index = bytearray(), []
    for text in texts:
        index.append(len(table))
        table += text + b"\0"
    names = bytearray()
    for kind, name, _ in SYMBOLS:
        left, coded = (kind + name).encode(), bytearray()
        while left:
            token = max((t for t in texts if t and left.startswith(t)), key=len)
            coded.append(texts.index(token))
            left = left[len(token) :]
        size = len(coded)
        names += bytes((size,)) if size < 128 else bytes((size & 0x7F | 0x80, size >> 7))
        names += coded
    space.regions |= {
        NAMES: names + bytes(0x1000 - len(names)), TOKENS: table, INDEX: bytearray(512),
        OFFSETS: bytearray(8 * len(SYMBOLS)), NUMBERS: bytearray(0x1000),
    }  # fmt: skip
    for i, at in enumerate(index):
        space.put(INDEX + 2 * i, "H", at)
    base = TEXT - 0x1000
    for i, (_, _, address) in enumerate(SYMBOLS):
        if encoding == "absolute":
            space.put(OFFSETS + space.word * i, "P", address)
            continue
        values = {
            "base": address - base if address else 0,
            "percpu": address if address < 0x1000 else base - 1 - address,
            "place": address - (OFFSETS + 4 * i),
        }
        space.put(OFFSETS + 4 * i, "I", values[encoding] & 0xFFFFFFFF)
    space.put(NUMBERS, "I", len(SYMBOLS))
    space.put(NUMBERS + 8, "P", base)
    space.put(NUMBERS + 0x800, "P", 1 << 9 | 1 << 12)
    symbols = {
        "_stext": TEXT, "kallsyms_names": NAMES, "kallsyms_num_syms": NUMBERS,
        "kallsyms_token_table": TOKENS, "kallsyms_token_index": INDEX,
    }  # fmt: skip
    symbols["kallsyms_addresses" if encoding == "absolute" else "kallsyms_offsets"] = OFFSETS
    if encoding in ("base", "percpu"):
        symbols["kallsyms_relative_base"] = NUMBERS + 8
    return keys(SYMBOL=symbols)


@machines
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding(word: int, big_endian: bool, encoding: str) -> None:
    space = Space(word, big_endian)
    info = build(space, encoding)
    asked = ["_stext", LONG, "start_kernel", "tainted_mask", "last", "none"]
    found = addresses(space, info, asked)
    truth = {name: address for _, name, address in reversed(SYMBOLS)}
    assert found == {name: truth[name] for name in asked if name != "none"}
    assert letters(read_taint(space, info)) == "WO"


def test_an_encoding_that_nobody_knows() -> None:
    space = Space()
    info = build(space, "base")
    space.put(NUMBERS + 8, "P", 0x1234)
    with pytest.raises(FormatError, match="no known form of the symbol table puts _stext"):
        addresses(space, info, ["last"])


def test_wrecks() -> None:
    space = Space()
    info = build(space, "base")
    with pytest.raises(FormatError, match=r"no SYMBOL\(kallsyms_names"):
        addresses(space, Vmcoreinfo.parse(info.text.replace(b"(kallsyms_names", b"(x")), ["last"])
    with pytest.raises(FormatError, match=r"no SYMBOL\(_stext"):
        read_taint(space, keys(SYMBOL={"kallsyms_names": 1}))
    space.put(NUMBERS, "I", 0x10000)
    with pytest.raises(FormatError, match="end before its 0x10000 symbols"):
        addresses(space, info, ["none"])
    space.put(NUMBERS, "I", 0xFFFFFFFF)
    with pytest.raises(FormatError, match="no kernel has so many"):
        addresses(space, info, ["none"])
    space.regions[TOKENS] = bytearray(b"x" * 0x2000)
    with pytest.raises(FormatError, match="has no end"):
        addresses(space, info, ["none"])
    del space.regions[INDEX]
    with pytest.raises(FaultError):
        addresses(space, info, ["none"])


@settings(max_examples=60)
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    space = Space()
    info = build(space, data.draw(st.sampled_from(ENCODINGS)))
    for region in space.regions.values():
        at = data.draw(st.integers(0, len(region) - 1))
        junk = data.draw(st.binary(max_size=64))
        region[at : at + len(junk)] = junk
    try:
        found = addresses(space, info, ["last", "tainted_mask"])
    except (FormatError, FaultError):
        return
    assert set(found) <= {"last", "tainted_mask"}


def test_taint() -> None:
    assert letters(0) == ""
    assert letters(0xFFFFF) == "PFSRMBUDAWCIOELKXTNJ"
    assert letters(3 << 40 | 1) == "P??"
    assert mask_of("G        W  O      ") == 1 << 9 | 1 << 12
    assert mask_of("PFSRMBUDAWCIOELKXTNJ") == 0xFFFFF


@each_golden
def test_real_crashes(golden: str) -> None:
    info = vmcoreinfo(golden)
    kernel = Kernel.from_vmcoreinfo(memory(golden), info, 62, False)
    if info.symbol("kallsyms_names") is None:  # 5.10
        with pytest.raises(FormatError, match="kallsyms"):
            addresses(kernel, info, ["prb"])
        return
    names = ["_stext", "prb", "init_uts_ns", "vmap_area_list", "clear_seq", "init_top_pgt"]
    assert addresses(kernel, info, names) == {name: info.symbol(name) for name in names}
    assert read_taint(kernel, info) == 0
