// What Verilator's FST writer asks of LZ4, without compression: a trace needs no library.
//
// The block is one run of literals, which every LZ4 decoder reads.
#pragma once

#include <cstring>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* to, int size, int capacity) {
    if (capacity < LZ4_compressBound(size)) return 0;
    char* const begin = to;
    *to++ = static_cast<char>((size < 15 ? size : 15) << 4);
    if (size >= 15) {
        int rest = size - 15;
        for (; rest >= 255; rest -= 255) *to++ = static_cast<char>(255);
        *to++ = static_cast<char>(rest);
    }
    std::memcpy(to, source, static_cast<size_t>(size));
    return static_cast<int>(to - begin) + size;
}
