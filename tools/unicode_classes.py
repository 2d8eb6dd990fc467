#!/usr/bin/env python3
"""Writes src/data/unicode_classes.inc: the letters, numbers and white space of the Unicode version that tiktoken's regular
expressions know. Needs PyPI tiktoken; run it again when tests/python/test_tokenizer.py moves to a newer tiktoken.

usage: unicode_classes.py > src/data/unicode_classes.inc
"""

import tiktoken

BYTES = {bytes([value]): value for value in range(256)}


def members(pattern):
    """The code points that `pattern` matches, asked of tiktoken itself: text that its pattern skips gives no ids."""
    encoding = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=BYTES, special_tokens={})
    return [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and encoding.encode_ordinary(chr(c))]


def ranges(points):
    result = []
    for point in points:
        if result and result[-1][1] == point - 1:
            result[-1][1] = point
        else:
            result.append([point, point])
    return result


print(f"// Written by tools/unicode_classes.py from tiktoken {tiktoken.__version__}: first and last code point of each range.")
for name, pattern in (("kLetters", r"\p{L}"), ("kNumbers", r"\p{N}"), ("kWhiteSpace", r"\s")):
    print(f"constexpr CodeRange {name}[] = {{")
    line = "   "
    for first, last in ranges(members(pattern)):
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 110:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
