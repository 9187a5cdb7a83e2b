// Stored features as MessagePack: one item at a time, every read within bounds, checked against the type of its feature.
#pragma once

#include <cstdint>
#include <cstring>

namespace store {

using Byte = unsigned char;

enum class Kind : int { String, Int, Float, Bool, Timestamp, Embedding, List };

struct Type {
    Kind kind;
    Kind item;      // of a List
    uint32_t size;  // of an Embedding: its floats
};

constexpr int64_t FIRST_INSTANT = -62135596800000000;  // 0001-01-01T00:00:00Z in microseconds
constexpr int64_t LAST_INSTANT = 253402300799999999;   // 9999-12-31T23:59:59.999999Z

struct Reader {
    const Byte* at;
    const Byte* end;

    bool has(size_t count) const { return static_cast<size_t>(end - at) >= count; }
};

enum class Tag : int { Nil, Bool, Int, Unsigned, Float, Text, Binary, Array };

struct Item {
    Tag tag;
    int64_t integer;   // Bool, Int; Unsigned: its bits, beyond INT64_MAX only
    double number;     // Float
    const Byte* data;  // Text, Binary
    uint32_t size;     // Text, Binary: bytes; Array: items, which follow
};

inline uint64_t big_endian(const Byte* at, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value = value << 8 | at[i];
    return value;
}

inline bool read_number(Reader& in, int width, uint64_t& value) {
    if (!in.has(width)) return false;
    value = big_endian(in.at, width);
    in.at += width;
    return true;
}

inline bool read_bytes(Reader& in, Tag tag, uint64_t size, Item& item) {
    if (!in.has(size)) return false;
    item.tag = tag;
    item.data = in.at;
    item.size = static_cast<uint32_t>(size);
    in.at += size;
    return true;
}

inline bool read_unsigned(Reader& in, int width, Item& item) {
    uint64_t value;
    if (!read_number(in, width, value)) return false;
    item.tag = value > static_cast<uint64_t>(INT64_MAX) ? Tag::Unsigned : Tag::Int;
    item.integer = static_cast<int64_t>(value);
    return true;
}

inline bool read_signed(Reader& in, int width, Item& item) {
    uint64_t value;
    if (!read_number(in, width, value)) return false;
    const int shift = 64 - 8 * width;
    item.tag = Tag::Int;
    item.integer = static_cast<int64_t>(value << shift) >> shift;
    return true;
}

inline bool read_float(Reader& in, int width, Item& item) {
    uint64_t bits;
    if (!read_number(in, width, bits)) return false;
    item.tag = Tag::Float;
    if (width == 8) {
        std::memcpy(&item.number, &bits, sizeof item.number);
    } else {
        const uint32_t half = static_cast<uint32_t>(bits);
        float number;
        std::memcpy(&number, &half, sizeof number);
        item.number = number;
    }
    return true;
}

inline bool read_sized(Reader& in, Tag tag, int width, Item& item) {
    uint64_t size;
    return read_number(in, width, size) && read_bytes(in, tag, size, item);
}

inline bool read_array(Reader& in, int width, Item& item) {
    uint64_t size;
    if (!read_number(in, width, size)) return false;
    item.tag = Tag::Array;
    item.size = static_cast<uint32_t>(size);
    return true;
}

// The next item; false if there is none, it is cut off, or of a kind that no feature has (maps, extensions).
inline bool read_item(Reader& in, Item& item) {
    if (!in.has(1)) return false;
    const Byte head = *in.at++;
    if (head < 0x80 || head >= 0xe0) {
        item.tag = Tag::Int;
        item.integer = static_cast<int8_t>(head);
        return true;
    }
    if (head >= 0xa0 && head < 0xc0) return read_bytes(in, Tag::Text, head & 0x1f, item);
    if (head >= 0x90 && head < 0xa0) {
        item.tag = Tag::Array;
        item.size = head & 0x0f;
        return true;
    }
    switch (head) {
        case 0xc0: item.tag = Tag::Nil; return true;
        case 0xc2:
        case 0xc3:
            item.tag = Tag::Bool;
            item.integer = head & 1;
            return true;
        case 0xc4: return read_sized(in, Tag::Binary, 1, item);
        case 0xc5: return read_sized(in, Tag::Binary, 2, item);
        case 0xc6: return read_sized(in, Tag::Binary, 4, item);
        case 0xca: return read_float(in, 4, item);
        case 0xcb: return read_float(in, 8, item);
        case 0xcc: return read_unsigned(in, 1, item);
        case 0xcd: return read_unsigned(in, 2, item);
        case 0xce: return read_unsigned(in, 4, item);
        case 0xcf: return read_unsigned(in, 8, item);
        case 0xd0: return read_signed(in, 1, item);
        case 0xd1: return read_signed(in, 2, item);
        case 0xd2: return read_signed(in, 4, item);
        case 0xd3: return read_signed(in, 8, item);
        case 0xd9: return read_sized(in, Tag::Text, 1, item);
        case 0xda: return read_sized(in, Tag::Text, 2, item);
        case 0xdb: return read_sized(in, Tag::Text, 4, item);
        case 0xdc: return read_array(in, 2, item);
        case 0xdd: return read_array(in, 4, item);
        default: return false;
    }
}

// Whether this is UTF-8: no surrogates, nothing longer than need be.
inline bool is_utf8(const Byte* at, size_t size) {
    const Byte* end = at + size;
    while (at < end) {
        uint64_t eight;
        if (end - at >= 8 && (std::memcpy(&eight, at, 8), !(eight & 0x8080808080808080))) {
            at += 8;
            continue;
        }
        const Byte head = *at++;
        if (head < 0x80) continue;
        const int more = head >= 0xf0 ? 3 : head >= 0xe0 ? 2 : 1;
        if (head < 0xc2 || head > 0xf4 || end - at < more) return false;
        const Byte next = *at;
        const Byte least = head == 0xe0 ? 0xa0 : head == 0xf0 ? 0x90 : 0x80;
        const Byte most = head == 0xed ? 0x9f : head == 0xf4 ? 0x8f : 0xbf;
        if (next < least || next > most) return false;
        for (int i = 1; i < more; i++) {
            if ((at[i] & 0xc0) != 0x80) return false;
        }
        at += more;
    }
    return true;
}

inline bool fits(const Item& item, Kind kind, uint32_t size) {
    switch (kind) {
        case Kind::String: return item.tag == Tag::Text && is_utf8(item.data, item.size);
        case Kind::Int: return item.tag == Tag::Int || item.tag == Tag::Unsigned;
        case Kind::Float: return item.tag == Tag::Float || item.tag == Tag::Int || item.tag == Tag::Unsigned;
        case Kind::Bool: return item.tag == Tag::Bool;
        case Kind::Timestamp:
            return item.tag == Tag::Int && item.integer >= FIRST_INSTANT && item.integer <= LAST_INSTANT;
        case Kind::Embedding: return item.tag == Tag::Binary && item.size == 4 * static_cast<uint64_t>(size);
        default: return false;
    }
}

// Passes over a value that may be NULL; false if it is none of the type.
inline bool check_value(Reader& in, const Type& type, bool& is_null) {
    Item item;
    if (!read_item(in, item)) return false;
    is_null = item.tag == Tag::Nil;
    if (is_null) return true;
    if (type.kind != Kind::List) return fits(item, type.kind, type.size);
    if (item.tag != Tag::Array) return false;
    for (uint32_t i = 0; i < item.size; i++) {  // each takes a byte at least, so the value's end bounds this
        Item each;
        if (!read_item(in, each)) return false;
        if (each.tag != Tag::Nil && !fits(each, type.item, 0)) return false;
    }
    return true;
}

inline double as_float(const Item& item) {
    if (item.tag == Tag::Float) return item.number;
    if (item.tag == Tag::Unsigned) return static_cast<double>(static_cast<uint64_t>(item.integer));
    return static_cast<double>(item.integer);
}

}  // namespace store
