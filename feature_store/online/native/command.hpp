// The command that reads the entities of some rows: their keys, each once, packed as Redis takes it.
#pragma once

#include <string>

#include "msgpack.hpp"
#include "objects.hpp"

namespace store {

// What rows of one set of key columns have in common.
struct KeySet {
    std::vector<Kind> kinds;
};

struct KeyedGroup {
    std::string prefix;  // "user_orders@1:"
    size_t set;
};

struct CommandForm {
    PyObject_HEAD
    std::vector<std::string> first;  // keys before those of entities
    std::vector<KeySet> sets;
    std::vector<KeyedGroup> groups;
};

// The entities of rows: each tag once, and of each row the place of its own.
struct Tags {
    std::string text;
    std::vector<uint32_t> ends;
    std::vector<int> places;
    bool is_one_each = false;  // row i has entity i

    size_t size() const { return ends.size(); }
    std::string_view tag(size_t i) const {
        const uint32_t begin = i ? ends[i - 1] : 0;
        return std::string_view(text).substr(begin, ends[i] - begin);
    }
};

struct Command {
    PyObject_HEAD
    CommandForm* form;
    size_t size;  // of the rows
    std::vector<Tags> sets;
    Owned packed;
};

inline void add_number(std::string& text, int64_t number) {
    char digits[24];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

// A part of a tag; false if it is NULL. Throws Cannot for what is no value of the kind, and for instants.
inline bool add_part(std::string& text, PyObject* value, Kind kind) {
    if (value == Py_None) return false;
    if (kind == Kind::Int && PyLong_CheckExact(value)) {
        int overflow;
        const long long integer = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow) throw Cannot();
        add_number(text, integer);
    } else if (kind == Kind::Bool && PyBool_Check(value)) {
        text += value == Py_True ? "true" : "false";
    } else if (kind == Kind::String && PyUnicode_CheckExact(value)) {
        const std::string_view given = utf8_of(value);
        if (given.empty()) text += '%';
        for (size_t at = 0; at < given.size();) {
            const size_t next = std::min(given.find_first_of("%{}|", at), given.size());
            text.append(given, at, next - at);
            if (next < given.size()) {
                const char each = given[next];
                text += each == '%' ? "%25" : each == '{' ? "%7B" : each == '}' ? "%7D" : "%7C";
            }
            at = next + 1;
        }
    } else {
        throw Cannot();
    }
    return true;
}

inline size_t hash_of(std::string_view text) {
    uint64_t hash = text.size();
    size_t at = 0;
    for (; at + 8 <= text.size(); at += 8) {
        uint64_t eight;
        std::memcpy(&eight, text.data() + at, 8);
        hash = (hash ^ eight) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 29;
    }
    uint64_t rest = 0;
    std::memcpy(&rest, text.data() + at, text.size() - at);
    hash = (hash ^ rest) * 0x9e3779b97f4a7c15;
    return static_cast<size_t>(hash ^ hash >> 29);
}

inline bool is_same(PyObject* one, PyObject* other) { return one == other; }

inline bool is_same(std::string_view one, std::string_view other) {
    return one.data() == other.data() && one.size() == other.size();
}

// An INT as a query has it; throws Cannot for what is none.
inline int64_t integer_in(std::string_view word) {
    int64_t number = 0;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), number);
    const size_t digits = word.size() - (!word.empty() && word[0] == '-');
    if (read.ec != std::errc() || read.ptr != word.data() + word.size() || digits > 19) throw Cannot();
    return number;
}

inline bool add_part(std::string& text, std::string_view word, Kind kind) {
    if (kind == Kind::Int) {
        add_number(text, integer_in(word));
    } else if (kind == Kind::String) {
        word.empty() ? text += '%' : text += word;  // nothing to escape is in the query
    } else {
        throw Cannot();
    }
    return true;
}

// The tags of rows, of each column its values: objects, or words of a query.
template <class Column>
Tags tags_of_columns(const KeySet& set, const std::vector<Column>& values, size_t size) {
    using Value = decltype(values[0][0]);
    if (values.size() != set.kinds.size()) throw Cannot();
    Tags tags;
    tags.text.reserve(24 * size);
    tags.places.reserve(size);
    size_t slots = 8;
    while (slots < 2 * size) slots *= 2;
    std::vector<int> table(slots, -1);
    Value last{};
    for (size_t row = 0; row < size; row++) {
        if (row > 0 && values.size() == 1 && is_same(values[0][row], last)) {
            tags.places.push_back(tags.places.back());
            continue;
        }
        const size_t begin = tags.text.size();
        bool is_null = false;
        tags.text += '{';
        for (size_t i = 0; i < values.size(); i++) {
            if (i) tags.text += '|';
            is_null |= !add_part(tags.text, values[i][row], set.kinds[i]);
        }
        tags.text += '}';
        if (values.size() == 1) last = values[0][row];
        int place = -1;
        if (!is_null) {
            const std::string_view tag = std::string_view(tags.text).substr(begin);
            size_t slot = hash_of(tag) & (slots - 1);
            while (table[slot] >= 0 && tags.tag(table[slot]) != tag) slot = (slot + 1) & (slots - 1);
            if (table[slot] < 0) {
                table[slot] = static_cast<int>(tags.size());
                if (tags.text.size() > UINT32_MAX) throw Cannot();
                tags.ends.push_back(static_cast<uint32_t>(tags.text.size()));
                tags.places.push_back(table[slot]);
                continue;
            }
            place = table[slot];
        }
        tags.text.resize(begin);
        tags.places.push_back(place);
    }
    tags.is_one_each = tags.size() == size;
    return tags;
}

inline Tags read_tags(const KeySet& set, PyObject* columns_object, size_t size) {
    const Items columns(columns_object);
    std::vector<Items> values;
    for (size_t i = 0; i < columns.size(); i++) {
        values.emplace_back(columns[i]);
        if (values.back().size() != size) throw Cannot();
    }
    return tags_of_columns(set, values, size);
}

inline void add_bulk(Out& out, std::string_view prefix, std::string_view rest) {
    char* at = out.room(prefix.size() + rest.size() + 32);
    *at++ = '$';
    at = std::to_chars(at, at + 20, prefix.size() + rest.size()).ptr;
    std::memcpy(at, "\r\n", 2);
    std::memcpy(at + 2, prefix.data(), prefix.size());
    at += 2 + prefix.size();
    std::memcpy(at, rest.data(), rest.size());
    std::memcpy(at + rest.size(), "\r\n", 2);
    out.wrote(at + rest.size() + 2);
}

inline size_t count_keys(const Command& command) {
    size_t count = command.form->first.size();
    for (const KeyedGroup& group : command.form->groups) count += command.sets[group.set].size();
    return count;
}

inline PyObject* pack(const Command& command) {
    const CommandForm& form = *command.form;
    const size_t count = count_keys(command);
    Out out(64 + 48 * count);
    out.add('*');
    add_integer(out, static_cast<int64_t>(count + 1));
    out.add("\r\n$4\r\nMGET\r\n");
    for (const std::string& key : form.first) add_bulk(out, key, "");
    for (const KeyedGroup& group : form.groups) {
        const Tags& tags = command.sets[group.set];
        for (size_t i = 0; i < tags.size(); i++) add_bulk(out, group.prefix, tags.tag(i));
    }
    return out.finish();
}

// A key as a text, by its place in the command.
inline PyObject* key_of(const Command& command, size_t place) {
    const CommandForm& form = *command.form;
    std::string key;
    if (place < form.first.size()) {
        key = form.first[place];
    } else {
        place -= form.first.size();
        for (const KeyedGroup& group : form.groups) {
            const Tags& tags = command.sets[group.set];
            if (place < tags.size()) {
                key = group.prefix;
                key += tags.tag(place);
                break;
            }
            place -= tags.size();
        }
        if (key.empty()) refuse(PyExc_IndexError, "no such key");
    }
    return checked(PyUnicode_DecodeUTF8(key.data(), static_cast<Py_ssize_t>(key.size()), nullptr));
}

}  // namespace store
