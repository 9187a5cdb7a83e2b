// Floats as the shortest decimals that read back as the same float: Schubfach, by Raffaello Giulietti (2021).
#pragma once

#include <cmath>
#include <vector>

#include "out.hpp"

namespace store {

struct Power {
    uint64_t high, low;
};

constexpr int LEAST_POWER = -292, MOST_POWER = 324;

// Powers of ten from 10**LEAST_POWER on, each as its 128 leading bits, rounded up.
inline std::vector<Power> powers_of_ten;

struct Decimal {
    uint64_t digits;
    int exponent;
};

// The upper 64 of 192 bits; the last bit says whether anything but zeros was cut off.
inline uint64_t times(const Power& power, uint64_t factor) {
    const unsigned __int128 low = static_cast<unsigned __int128>(power.low) * factor;
    const unsigned __int128 high = static_cast<unsigned __int128>(power.high) * factor + static_cast<uint64_t>(low >> 64);
    return static_cast<uint64_t>(high >> 64) | (static_cast<uint64_t>(high) > 1);
}

// A positive, finite float.
inline Decimal decimal_of(double value) {
    constexpr uint64_t HIDDEN = uint64_t{1} << 52;
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint64_t fraction = bits & (HIDDEN - 1);
    const int biased = static_cast<int>(bits >> 52);
    const uint64_t c = biased ? fraction | HIDDEN : fraction;
    const int q = (biased ? biased : 1) - 1075;
    if (q <= 0 && q > -53 && (c & ((uint64_t{1} << -q) - 1)) == 0) return {c >> -q, 0};  // a whole number
    const bool is_odd = c & 1;
    const bool is_closer_below = fraction == 0 && biased > 1;
    const int k = (q * 1262611 - (is_closer_below ? 524031 : 0)) >> 22;
    const int h = q + ((-k * 1741647) >> 19) + 1;
    const Power& power = powers_of_ten[-k - LEAST_POWER];
    const uint64_t lower = times(power, (4 * c - 2 + is_closer_below) << h) + is_odd;
    const uint64_t middle = times(power, (4 * c) << h);
    const uint64_t upper = times(power, (4 * c + 2) << h) - is_odd;
    const uint64_t s = middle / 4;
    if (s >= 10) {
        const uint64_t tens = s / 10;
        const bool is_below = lower <= 40 * tens, is_above = 40 * tens + 40 <= upper;
        if (is_below != is_above) return {tens + is_above, k + 1};
    }
    const bool is_below = lower <= 4 * s, is_above = 4 * s + 4 <= upper;
    if (is_below != is_above) return {s + is_above, k};
    const uint64_t half = 4 * s + 2;
    return {s + (middle > half || (middle == half && (s & 1))), k};
}

// Eight digits as bytes, the first one lowest.
inline uint64_t eight_digits(uint32_t number) {
    const uint64_t fours = number / 10000 | static_cast<uint64_t>(number % 10000) << 32;
    const uint64_t hundreds = (fours * 10486 >> 20) & 0x0000007f0000007f;
    const uint64_t twos = ((fours - 100 * hundreds) << 16) + hundreds;
    const uint64_t tens = (twos * 103 >> 10) & 0x000f000f000f000f;
    return tens + ((twos - 10 * tens) << 8);
}

// A decimal of up to 17 digits as msgspec lays it out: 1234000.0, 12.34, 0.001234 or 1.234e33.
inline void add_decimal(Out& out, Decimal decimal) {
    constexpr uint64_t EIGHT = 100000000, ZEROS = 0x3030303030303030;
    const uint64_t upper = decimal.digits / EIGHT;
    const uint64_t first = upper / EIGHT;
    const uint64_t second = eight_digits(static_cast<uint32_t>(upper % EIGHT));
    const uint64_t third = eight_digits(static_cast<uint32_t>(decimal.digits % EIGHT));
    char text[64];  // what is copied at once may reach behind the digits
    text[0] = static_cast<char>('0' + first);
    const uint64_t words[] = {second | ZEROS, third | ZEROS};
    std::memcpy(text + 1, words, 16);
    const int begin = first ? 0 : second ? 1 + __builtin_ctzll(second) / 8 : 9 + __builtin_ctzll(third) / 8;
    const int end = third ? 17 - __builtin_clzll(third) / 8 : second ? 9 - __builtin_clzll(second) / 8 : 1;
    const char* digits = text + begin;
    const int count = end - begin, exponent = decimal.exponent + 17 - end;
    const int point = count + exponent;  // where the decimal point is among the digits
    char* at = out.room(64);
    if (exponent >= 0 && point <= 16) {
        std::memcpy(at, digits, 20);
        std::memset(at + count, '0', 16);
        std::memcpy(at + point, ".0", 2);
        at += point + 2;
    } else if (point > 0 && point <= 16) {
        std::memcpy(at, digits, 20);
        at[point] = '.';
        std::memcpy(at + point + 1, digits + point, 20);
        at += count + 1;
    } else if (point > -5 && point <= 0) {
        std::memcpy(at, "0.0000", 6);
        std::memcpy(at + 2 - point, digits, 20);
        at += 2 - point + count;
    } else {
        *at++ = digits[0];
        if (count > 1) {
            *at++ = '.';
            std::memcpy(at, digits + 1, count - 1);
            at += count - 1;
        }
        *at++ = 'e';
        at = std::to_chars(at, at + 5, point - 1).ptr;
    }
    out.wrote(at);
}

inline void add_float(Out& out, double value) {
    if (!std::isfinite(value)) return out.add("null");
    if (std::signbit(value)) {
        out.add('-');
        value = -value;
    }
    if (value == 0) return out.add("0.0");
    if (powers_of_ten.empty()) throw Cannot();
    add_decimal(out, decimal_of(value));
}

}  // namespace store
