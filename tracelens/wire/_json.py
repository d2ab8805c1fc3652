"""JSON in kernels: where its pieces end, and what they say.

Owns the scanner. It takes nothing that `orjson` refuses, and what it cannot
say exactly (a number of 20 digits, say) it calls unreadable, for Python to
read. Positions are addresses; a position below zero means unreadable.

A zero byte must follow each document, and `_views.PADDING` bytes the last one:
no text and no number goes past a zero, so nothing else is asked where a
document ends. Whether text is UTF-8 is asked once a document, see `is_unicode`.

Sources: RFC 8259; Lemire, "Number parsing at a gigabyte per second", for
decimals as products with powers of ten of 128 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import piece
from tracelens.wire._memory import (
    WIDE,
    ZERO,
    Word,
    beyond_ascii,
    byte,
    highest,
    lowest,
    set_byte,
    specials,
    upper_half,
    word,
)
from tracelens.wire._views import MASKS, is_text

BAD = -1
NOTHING, TEXT, ESCAPED, INTEGER, REAL, UNSAID, TRUE, FALSE, NULL, OTHER = range(10)  # what a value is
QUOTE, BACKSLASH, COMMA, COLON, MINUS, DOT, DIGIT = (ord(c) for c in '"\\,:-.0')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = (ord(c) for c in "{}[]")
DEEPEST = 60  # objects and lists in one another; orjson takes 1,024
MOST_DIGITS = 19  # fit a word
MOST = (1 << 63) - 1  # what is more, or 0 with a sign, is for Python to say
POWERS = 280  # of ten, up and down: with 19 digits all are in the range of doubles
MOST_POWER = 308  # what has more may be beyond it, which orjson refuses
TABS = 0x2600  # a bit each: tab, line feed, carriage return
BLOCK = 256  # bytes told to be UTF-8 at once


def literal(text: str) -> np.uint64:
    """Return up to 8 characters as a word."""
    return np.uint64(int.from_bytes(text.encode(), "little"))


TRUE_WORD, FALSE_WORD, NULL_WORD, FALSE_END = literal("true"), literal("fals"), literal("null"), ord("e")
LOW = MASKS[4]


def _powers() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return [power + POWERS, upper and lower word] of powers of ten in 128 bits, and their exponents of two."""
    words = np.zeros((2 * POWERS + 1, 2), np.uint64)
    exponents = np.zeros(2 * POWERS + 1, np.int64)
    for power in range(-POWERS, POWERS + 1):
        above, below = (10**power, 1) if power >= 0 else (1, 10**-power)
        exponent = above.bit_length() - below.bit_length() - 128
        scaled = (above << max(-exponent, 0)) // (below << max(exponent, 0))
        if scaled.bit_length() > 128:
            exponent += 1
            scaled = (above << max(-exponent, 0)) // (below << max(exponent, 0))
        words[power + POWERS] = np.array([scaled >> 64, scaled & (1 << 64) - 1], np.uint64)
        exponents[power + POWERS] = exponent
    return words, exponents


POWER_WORDS, POWER_EXPONENTS = _powers()


@piece
def blank(at: int) -> int:
    """Return the position behind white space."""
    found = byte(at)
    while found <= 32 and (found == 32 or (found < 14 and (TABS >> found) & 1)):
        at += 1
        found = byte(at)
    return at


@piece
def plain(at: int) -> int:
    """Return where text has a quote, a backslash, or what is no text."""
    found = specials(at)
    while found == np.uint64(0):
        at += WIDE
        found = specials(at)
    end: int = at + lowest(found)
    return end


@piece
def hexadecimal(at: int) -> int:
    """Return the number that four digits say; BAD when they are none."""
    value = 0
    for i in range(4):
        digit = byte(at + i)
        if 48 <= digit <= 57:
            digit -= 48
        else:
            digit = (digit | 32) - 87
            if digit < 10 or digit > 15:
                return BAD
        value = value << 4 | digit
    return value


@piece
def closing(at: int) -> tuple[int, int]:
    """Return (the closing quote, bytes of the text as UTF-8) of the text at `at`; BAD when it is none."""
    start = at
    less = 0
    while True:
        at = plain(at)
        found = byte(at)
        if found == QUOTE:
            return at, at - start - less
        if found != BACKSLASH:
            return BAD, 0
        found = byte(at + 1)
        if found != 117:  # u
            if found not in (QUOTE, BACKSLASH, 47, 98, 102, 110, 114, 116):
                return BAD, 0
            at += 2
            less += 1
            continue
        value = hexadecimal(at + 2)
        if value < 0 or 0xDC00 <= value <= 0xDFFF:
            return BAD, 0
        if value < 0xD800 or value > 0xDFFF:
            at += 6
            less += 5 if value < 0x80 else 4 if value < 0x800 else 3
            continue
        if byte(at + 6) != BACKSLASH or byte(at + 7) != 117:
            return BAD, 0
        value = hexadecimal(at + 8)
        if value < 0xDC00 or value > 0xDFFF:
            return BAD, 0
        at += 12
        less += 8


@piece
def unescape(at: int, stop: int, to: int) -> None:
    """Write the text between quotes, which `closing` has found to be text, without its escapes."""
    while at < stop:
        found = byte(at)
        if found != BACKSLASH:
            set_byte(to, found)
            at += 1
            to += 1
            continue
        found = byte(at + 1)
        at += 2
        if found != 117:
            if found == 98:
                found = 8
            elif found == 102:
                found = 12
            elif found == 110:
                found = 10
            elif found == 114:
                found = 13
            elif found == 116:
                found = 9
            set_byte(to, found)
            to += 1
            continue
        value = hexadecimal(at)
        at += 4
        if value >= 0xD800 and value <= 0xDFFF:
            value = 0x10000 + ((value - 0xD800) << 10) + (hexadecimal(at + 2) - 0xDC00)
            at += 6
        if value < 0x80:
            set_byte(to, value)
            to += 1
            continue
        more = 1 if value < 0x800 else 2 if value < 0x10000 else 3
        set_byte(to, (0xC0 if more == 1 else 0xE0 if more == 2 else 0xF0) | value >> 6 * more)
        to += 1
        while more:
            more -= 1
            set_byte(to, 0x80 | value >> 6 * more & 0x3F)
            to += 1


@piece
def real(digits: Word, power: int) -> tuple[bool, Word]:
    """Return (whether it is known, the bits of the double nearest) of digits * 10 ** power."""
    if digits == np.uint64(0):
        return True, digits
    if power < -POWERS or power > POWERS:
        return False, digits
    shift = highest(digits)
    digits <<= np.uint64(shift)
    # The power is cut to 128 bits, so that the product is up to two units of `rest` too small.
    rest = digits * POWER_WORDS[power + POWERS, 0]
    found = upper_half(digits, POWER_WORDS[power + POWERS, 0])
    more = upper_half(digits, POWER_WORDS[power + POWERS, 1])
    rest += more
    if rest < more:
        found += np.uint64(1)
    exponent = 128 + POWER_EXPONENTS[power + POWERS] - shift
    if found >> np.uint64(63) == np.uint64(0):
        found = found << np.uint64(1) | rest >> np.uint64(63)
        rest <<= np.uint64(1)
        exponent -= 1
    over = found & np.uint64(0x7FF)
    # Close to the middle between two doubles the units that are missing decide.
    if (over == np.uint64(0x400) and rest == np.uint64(0)) or (
        over == np.uint64(0x3FF) and rest >= np.uint64(0xFFFFFFFFFFFFFFF0)
    ):
        return False, digits
    mantissa = (found >> np.uint64(11)) + (over >> np.uint64(10))
    exponent += 11 + 52 + 1023
    if mantissa >> np.uint64(53):
        mantissa >>= np.uint64(1)
        exponent += 1
    return True, np.uint64(exponent) << np.uint64(52) | mantissa & np.uint64(0xFFFFFFFFFFFFF)


@piece
def number(at: int) -> tuple[int, int, Word]:
    """Return (position behind, INTEGER or REAL, its 64 bits) of the number at `at`; UNSAID when they are not known."""
    unread = np.uint64(0)
    negative = byte(at) == MINUS
    if negative:
        at += 1
    value = unread
    digits = power = 0
    first = at
    digit = byte(at) - DIGIT
    while digit >= 0 and digit <= 9:
        value = value * np.uint64(10) + np.uint64(digit)
        digits += digits > 0 or digit > 0
        at += 1
        digit = byte(at) - DIGIT
    if at == first or (byte(first) == DIGIT and at > first + 1):
        return BAD, 0, unread
    kind = INTEGER
    if byte(at) == DOT:
        kind = REAL
        first = at + 1
        at = first
        digit = byte(at) - DIGIT
        while digit >= 0 and digit <= 9:
            value = value * np.uint64(10) + np.uint64(digit)
            digits += digits > 0 or digit > 0
            at += 1
            digit = byte(at) - DIGIT
        if at == first:
            return BAD, 0, unread
        power = first - at
    if byte(at) | 32 == 101:  # e
        kind = REAL
        sign = byte(at + 1)
        first = at + 2 if sign in (43, MINUS) else at + 1
        at = first
        exponent = 0
        digit = byte(at) - DIGIT
        while digit >= 0 and digit <= 9:
            exponent = min(exponent * 10 + digit, 1 << 40)
            at += 1
            digit = byte(at) - DIGIT
        if at == first:
            return BAD, 0, unread
        power += -exponent if sign == MINUS else exponent
    known = digits <= MOST_DIGITS
    if kind == INTEGER:
        known = bool(known and value <= np.uint64(MOST) + np.uint64(negative) and not (negative and value == unread))
        value = unread - value if negative else value
    elif known:
        known, value = real(value, power)
        value |= np.uint64(negative) << np.uint64(63)
    if not known:
        return (at if digits + power <= MOST_POWER else BAD), UNSAID, unread
    return at, kind, value


@piece
def member(at: int) -> tuple[int, int, int]:
    """Return (where the value begins, where the name, its length) of a member of an object.

    A name with an escape is unreadable: it may be any other's.
    """
    stop = plain(at + 1)
    if byte(at) != QUOTE or byte(stop) != QUOTE:
        return BAD, 0, 0
    behind = stop + 1
    if byte(behind) != COLON:
        behind = blank(behind)
        if byte(behind) != COLON:
            return BAD, 0, 0
    return blank(behind + 1), at + 1, stop - at - 1


@piece
def following(at: int, last: int) -> tuple[int, bool]:
    """Return (position, whether another comes) behind a value; last: what closes that which it stands in.

    The position is that of the next one, or behind all.
    """
    at = blank(at)
    found = byte(at)
    if found == COMMA:
        return blank(at + 1), True
    return (at + 1 if found == last else BAD), False


@piece
def scalar(at: int) -> tuple[int, int, int, int, Word]:
    """Return (position behind, what it is, where text ends, bytes of it as UTF-8, 64 bits) of a value.

    Text begins behind its quote. An object or a list is OTHER, and is not passed.
    """
    none = np.uint64(0)
    found = byte(at)
    if found == QUOTE:
        stop = plain(at + 1)
        if byte(stop) == QUOTE:
            return stop + 1, TEXT, stop, stop - at - 1, none
        stop, length = closing(at + 1)
        if stop < 0:
            return BAD, NOTHING, 0, 0, none
        return stop + 1, ESCAPED, stop, length, none
    if found in (OPEN, OPEN_LIST):
        return at, OTHER, 0, 0, none
    if found == MINUS or (found >= DIGIT and found < COLON):
        at, kind, value = number(at)
        return at, kind, 0, 0, value
    low = word(at) & LOW
    if low == NULL_WORD:
        return at + 4, NULL, 0, 0, none
    if low == TRUE_WORD:
        return at + 4, TRUE, 0, 0, none
    if low == FALSE_WORD and byte(at + 4) == FALSE_END:
        return at + 5, FALSE, 0, 0, none
    return BAD, NOTHING, 0, 0, none


@piece
def skip(at: int) -> int:
    """Return the position behind a value of any kind."""
    depth = 0
    objects = np.uint64(0)  # a bit each depth: an object, and no list
    while True:
        found = byte(at)
        if found in (OPEN, OPEN_LIST):
            of_object = found == OPEN
            at = blank(at + 1)
            if byte(at) == (CLOSE if of_object else CLOSE_LIST):
                at += 1
            elif depth == DEEPEST:
                return BAD
            else:
                depth += 1
                objects = objects << np.uint64(1) | np.uint64(of_object)
                if of_object:
                    at, _, _ = member(at)
                    if at < 0:
                        return BAD
                continue
        else:
            at, _, _, _, _ = scalar(at)
            if at < 0:
                return BAD
        while depth:  # a value is complete; so may be those around it
            of_object = objects & np.uint64(1) != np.uint64(0)
            at, more = following(at, CLOSE if of_object else CLOSE_LIST)
            if at < 0:
                return BAD
            if more:
                if of_object:
                    at, _, _ = member(at)
                    if at < 0:
                        return BAD
                break
            depth -= 1
            objects >>= np.uint64(1)
        if depth == 0:
            return at


@piece
def is_unicode(start: int, stop: int) -> bool:
    """Whether a document is UTF-8."""
    while start < stop:
        if start + 64 <= stop and beyond_ascii(start) == ZERO:
            start += 64
            continue
        end = min(start + BLOCK, stop)
        while end < stop and byte(end) & 0xC0 == 0x80 and end < start + BLOCK + 3:
            end += 1
        if not is_text(start, end - start):
            return False
        start = end
    return True
