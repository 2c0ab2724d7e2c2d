#!/usr/bin/env python3
"""Prints the digests that casefold_test.go expects, made by libext2fs.

libext2fs (e2fsprogs 1.45 and later) has the kernel's own folding tables and
algorithm. Each digest is SHA-256 over folded strings, each ended by a newline.
"""
import ctypes
import hashlib


class Ops(ctypes.Structure):
    _fields_ = [
        ("casefold", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
                                      ctypes.c_char_p, ctypes.c_size_t)),
        ("validate", ctypes.c_void_p),
    ]


class Table(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int), ("ops", ctypes.POINTER(Ops))]


lib = ctypes.CDLL("libext2fs.so.2")
lib.ext2fs_load_nls_table.restype = ctypes.POINTER(Table)
table = lib.ext2fs_load_nls_table(1)  # EXT4_ENC_UTF8_12_1
assert table.contents.version == 0x0C0100
casefold = table.contents.ops.contents.casefold
buf = ctypes.create_string_buffer(4096)


def fold(b):
    n = casefold(table, b, len(b), buf, len(buf))
    return b"invalid" if n < 0 else buf.raw[:n]


def digest(strings):
    h = hashlib.sha256()
    for s in strings:
        h.update(fold(s) + b"\n")
    return h.hexdigest()


def each_code_point():
    for c in range(1, 0x110000):
        if not 0xD800 <= c < 0xE000:
            yield chr(c).encode()


def between_marks():
    """Each code point amid marks of other classes: finds the class."""
    for c in range(1, 0x110000):
        if not 0xD800 <= c < 0xE000:
            yield ("Q\u0301\u0323" + chr(c) + "\u0327\u0334\u0345\u0308").encode()


class Lcg:
    def __init__(self):
        self.x = 1

    def next(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 33) % n


def mixtures():
    """Runs of code points from the dense part of the code space."""
    g = Lcg()
    for _ in range(200000):
        s = []
        for _ in range(1 + g.next(12)):
            low, size = ((0x20, 0x60), (0xA0, 0x300), (0x300, 0x70), (0x590, 0x180), (0x1AB0, 0x150), (0x1E00, 0x2F0),
                         (0xAC00, 11172), (0x1D160, 0x50), (0xFE00, 0x30))[g.next(9)]
            s.append(chr(low + g.next(size)))
        yield "".join(s).encode()


def garbage():
    """Bytes that are mostly not UTF-8."""
    g = Lcg()
    for _ in range(200000):
        yield bytes((0x41, 0x80, 0xBF, 0xC1, 0xC3, 0xE0, 0xED, 0xA0, 0xF0, 0xF4, 0x90, 0xFF)[g.next(12)]
                    for _ in range(1 + g.next(4)))


if __name__ == "__main__":
    for f in each_code_point, between_marks, mixtures, garbage:
        print(f.__name__, digest(f()))
