#!/usr/bin/env python3
"""Writes unicode_table.hpp, the classes of all code points that GPT-2's split pattern tells apart.

    python3 -m venv venv && venv/bin/pip install unicodedata2==16.0.0
    venv/bin/python data_pipeline/tokenizer/make_unicode_table.py > data_pipeline/tokenizer/unicode_table.hpp

Unicode 16.0.0 is what tiktoken 0.9 to 0.14 use (the Rust regex crate); later versions add letters to it.
"""
import sys

import unicodedata2

VERSION = "16.0.0"
OTHER, LETTER, NUMBER, SPACE = range(4)
# The property White_Space; unicodedata does not have it. Stable since Unicode 6.3.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
               0x3000}
PAGE = 256


def class_of(code_point):
    if code_point in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata2.category(chr(code_point))[0], OTHER)


def packed_page(first):
    """64 bytes: the classes of 256 code points, two bits each, the lowest first."""
    classes = [class_of(first + i) for i in range(PAGE)]
    return bytes(sum(classes[i + k] << (2 * k) for k in range(4)) for i in range(0, PAGE, 4))


def rows(values, indent="    "):
    line = indent
    for value in values:
        text = f"{value},"
        if len(line) + len(text) > 120:
            yield line.rstrip()
            line = indent
        line += text
    yield line.rstrip()


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit(f"needs unicodedata2=={VERSION}, found {unicodedata2.unidata_version}")
    pages, index = {}, []
    for first in range(0, 0x110000, PAGE):
        index.append(pages.setdefault(packed_page(first), len(pages)))
    print(f"// Classes of all code points of Unicode {VERSION}. Made by make_unicode_table.py; do not edit.")
    print("#pragma once\n\n#include <array>\n#include <cstdint>\n")
    print("// clang-format off")
    print("namespace kangpt::data::unicode_table {\n")
    print(f'inline constexpr char kVersion[] = "{VERSION}";')
    print("// The page of each block of 256 code points.")
    print(f"inline constexpr std::array<std::uint8_t, {len(index)}> kPageOfBlock = {{")
    print("\n".join(rows(index)))
    print("};")
    print("// 64 bytes a page: the CharClass of each code point in two bits, the lowest first.")
    print(f"inline constexpr std::array<std::uint8_t, {len(pages) * 64}> kPages = {{")
    print("\n".join(rows(byte for page in pages for byte in page)))
    print("};\n")
    print("}  // namespace kangpt::data::unicode_table")
    print("// clang-format on")



if __name__ == "__main__":
    main()
