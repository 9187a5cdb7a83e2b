// Values as JSON, written as msgspec writes them.
#pragma once

#include "floats.hpp"
#include "msgpack.hpp"

namespace store {

// Whether one of eight bytes is a control character, a quote or a backslash: all that JSON escapes.
inline bool has_escaped(uint64_t eight) {
    constexpr uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    const uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
    const uint64_t controls = (eight - ones * 0x20) & ~eight;
    return ((controls | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & tops) != 0;
}

// A text that is UTF-8, as JSON.
inline void add_string(Out& out, const char* text, size_t size) {
    static const char* const HEX = "0123456789abcdef";
    char* at = out.room(6 * size + 2);
    *at++ = '"';
    const char* end = text + size;
    while (text < end) {
        uint64_t eight;
        if (end - text >= 8 && (std::memcpy(&eight, text, 8), !has_escaped(eight))) {
            std::memcpy(at, text, 8);
            at += 8;
            text += 8;
            continue;
        }
        const unsigned char each = static_cast<unsigned char>(*text++);
        if (each >= 0x20 && each != '"' && each != '\\') {
            *at++ = static_cast<char>(each);
            continue;
        }
        *at++ = '\\';
        switch (each) {
            case '"': *at++ = '"'; break;
            case '\\': *at++ = '\\'; break;
            case '\b': *at++ = 'b'; break;
            case '\t': *at++ = 't'; break;
            case '\n': *at++ = 'n'; break;
            case '\f': *at++ = 'f'; break;
            case '\r': *at++ = 'r'; break;
            default:
                std::memcpy(at, "u00", 3);
                at[3] = HEX[each >> 4];
                at[4] = HEX[each & 15];
                at += 5;
        }
    }
    *at++ = '"';
    out.wrote(at);
}

inline char* add_digits(char* at, int64_t number, int width) {
    for (int i = width - 1; i >= 0; i--, number /= 10) at[i] = static_cast<char>('0' + number % 10);
    return at + width;
}

// Microseconds since the epoch as an RFC 3339 text. Raises Cannot if it is beyond the years 1 to 9999.
inline void add_instant(Out& out, int64_t micros) {
    if (micros < FIRST_INSTANT || micros > LAST_INSTANT) throw Cannot();
    constexpr int64_t DAY = 86400000000, ERA = 146097;  // days of 400 years
    const int64_t since = micros - FIRST_INSTANT;
    int64_t rest = since % DAY;
    const int64_t days = since / DAY + 306;  // since 0000-03-01, so that a leap day ends its year
    const int64_t era = days / ERA, day_of_era = days % ERA;
    const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const int64_t march_month = (5 * day_of_year + 2) / 153;
    const int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    char* at = out.room(29);
    *at++ = '"';
    at = add_digits(at, 400 * era + year_of_era + (month <= 2), 4);
    *at++ = '-';
    at = add_digits(at, month, 2);
    *at++ = '-';
    at = add_digits(at, day_of_year - (153 * march_month + 2) / 5 + 1, 2);
    *at++ = 'T';
    at = add_digits(at, rest / 3600000000, 2);
    *at++ = ':';
    at = add_digits(at, (rest %= 3600000000) / 60000000, 2);
    *at++ = ':';
    at = add_digits(at, (rest %= 60000000) / 1000000, 2);
    if (rest %= 1000000) {
        *at++ = '.';
        at = add_digits(at, rest, 6);
    }
    *at++ = 'Z';
    *at++ = '"';
    out.wrote(at);
}

// A value that was checked, as JSON; instants as texts or as microseconds.
inline void add_value(Out& out, Reader& in, const Type& type, bool instants_as_texts) {
    Item item;
    if (!read_item(in, item)) throw Cannot();
    switch (item.tag) {
        case Tag::Nil: return out.add("null");
        case Tag::Bool: return out.add(item.integer ? std::string_view("true") : std::string_view("false"));
        case Tag::Text: return add_string(out, reinterpret_cast<const char*>(item.data), item.size);
        case Tag::Float: return add_float(out, item.number);
        case Tag::Int:
        case Tag::Unsigned:
            if (type.kind == Kind::Float) return add_float(out, as_float(item));
            if (type.kind == Kind::Timestamp && instants_as_texts) return add_instant(out, item.integer);
            if (item.tag == Tag::Int) return add_integer(out, item.integer);
            out.wrote(std::to_chars(out.room(20), out.room(20) + 20, static_cast<uint64_t>(item.integer)).ptr);
            return;
        case Tag::Binary:
            out.add('[');
            for (uint32_t i = 0; i + 4 <= item.size; i += 4) {
                const Byte* at = item.data + i;
                const uint32_t bits = at[0] | at[1] << 8 | at[2] << 16 | static_cast<uint32_t>(at[3]) << 24;
                float number;
                std::memcpy(&number, &bits, sizeof number);
                if (i) out.add(',');
                add_float(out, number);
            }
            return out.add(']');
        case Tag::Array:
            out.add('[');
            for (uint32_t i = 0; i < item.size; i++) {
                if (i) out.add(',');
                add_value(out, in, Type{type.item, type.item, 0}, instants_as_texts);
            }
            return out.add(']');
    }
}

}  // namespace store
