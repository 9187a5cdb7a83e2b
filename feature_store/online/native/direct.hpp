// Requests of one form, read and answered without Python's objects: words of a query to a command, values to an answer.
#pragma once

#include "answers.hpp"
#include "command.hpp"
#include "head.hpp"

namespace store {

constexpr size_t MOST_ROWS = 1000;

enum class Shape : int { Columns, Records, Packed };

// What requests of one form have in common.
struct DirectForm {
    PyObject_HEAD
    Owned command_object, form_object;
    CommandForm* command;
    Form* form;
    Shape shape;
    std::vector<std::vector<size_t>> sets;  // of each set of key columns the places of their parameters
    std::vector<size_t> keys;               // of each key column of the view the same
    std::vector<Kind> kinds;                // and its kind
    std::vector<Owned> groups;              // in the order of the command
    std::vector<int64_t> freshness;         // of each, in microseconds
    std::string more;                       // further members
    size_t more_count;
    size_t row_bytes;  // of a row in the answer before: what the next one may well need
};

// The values of a key column: a word for each row, or one for all.
class TextColumn {
  public:
    explicit TextColumn(const std::vector<std::string_view>& words) : words_(words.data()), size_(words.size()) {}

    size_t size() const { return size_; }
    std::string_view operator[](size_t row) const { return words_[size_ == 1 ? 0 : row]; }

  private:
    const std::string_view* words_;
    size_t size_;
};

using Words = std::vector<std::vector<std::string_view>>;

inline Words words_of(const Head& head) {
    Words words;
    words.reserve(head.given.size());
    for (const Parameter& each : head.given) words.push_back(words_of(each.value));
    return words;
}

// How many rows the columns are for; throws Cannot if they are for none, or for too many.
inline size_t count_rows(const Words& columns) {
    size_t size = 1;
    for (const auto& each : columns) size = std::max(size, each.size());
    for (const auto& each : columns) {
        if (each.size() != 1 && each.size() != size) throw Cannot();
    }
    if (size > MOST_ROWS) throw Cannot();
    return size;
}

inline void read_command(const DirectForm& direct, const Head& head, Command& command) {
    const Words columns = words_of(head);
    command.size = count_rows(columns);
    for (size_t i = 0; i < direct.sets.size(); i++) {
        std::vector<TextColumn> of_set;
        for (const size_t place : direct.sets[i]) {
            if (place >= columns.size()) throw Cannot();
            of_set.emplace_back(columns[place]);
        }
        command.sets.push_back(tags_of_columns(command.form->sets[i], of_set, command.size));
    }
    command.packed = Owned(pack(command));
}

// The values of the view's key columns, out of the query.
class KeyTexts {
  public:
    KeyTexts(const DirectForm& direct, const Head& head) : direct_(direct), columns_(words_of(head)) {
        for (const size_t place : direct.keys) {
            if (place >= columns_.size()) throw Cannot();
        }
    }

    void add(Out& out, size_t key, size_t row) const {
        const std::string_view word = TextColumn(columns_[direct_.keys[key]])[row];
        if (direct_.kinds[key] == Kind::Int) return add_integer(out, integer_in(word));
        add_string(out, word.data(), word.size());
    }

  private:
    const DirectForm& direct_;
    Words columns_;
};

// Up to when a group is complete, as its `last_updated` says; false if it says nothing.
inline bool read_complete_at(PyObject* value, PyObject* unreachable, int64_t& complete_at) {
    if (value == Py_None || value == unreachable) return false;
    if (!PyBytes_CheckExact(value)) throw Cannot();
    const std::string_view text = bytes_of(value);
    const std::string_view number = text.substr(0, text.find(' '));
    complete_at = integer_in(number);
    return true;
}

// Of each group its rows, and up to when it is complete.
inline std::vector<Given> read_values(const DirectForm& direct, PyTypeObject* rows_type, const Command& command,
                                      PyObject* values, int64_t instant) {
    if (!PyList_CheckExact(values)) throw Cannot();
    const size_t width = direct.groups.size();
    if (static_cast<size_t>(PyList_GET_SIZE(values)) != count_keys(command)) throw Cannot();
    std::vector<Given> found;
    found.reserve(width);
    size_t start = width;
    for (size_t i = 0; i < width; i++) {
        Group* group = reinterpret_cast<Group*>(direct.groups[i].get());
        const Tags& tags = command.sets[command.form->groups[i].set];
        Owned object = make_rows(rows_type, *group);
        Rows& rows = *reinterpret_cast<Rows*>(object.get());
        read_values(values, start, tags.size(), instant, rows);
        if (!rows.suspects.empty()) throw Cannot();
        start += tags.size();
        Given each{std::move(object), &rows, nullptr, nullptr, true, false, 0};
        if (!tags.is_one_each) each.places = std::shared_ptr<const Places>(std::shared_ptr<void>(), &tags.places);
        PyObject* updated = PyList_GET_ITEM(values, static_cast<Py_ssize_t>(i));
        each.has_updated = read_complete_at(updated, group->unreachable.get(), each.updated);
        const __int128 age = static_cast<__int128>(instant) - each.updated;
        each.is_stale = !each.has_updated || age > direct.freshness[i];
        found.push_back(std::move(each));
    }
    return found;
}

inline void add_body(Out& out, const DirectForm& direct, const Head& head, const Command& command, int64_t instant,
                     const std::vector<Given>& groups) {
    switch (direct.shape) {
        case Shape::Columns: return add_columns(out, *direct.form, instant, command.size, groups, direct.more);
        case Shape::Records:
            return add_records(out, *direct.form, instant, command.size, groups, direct.more, KeyTexts(direct, head));
        case Shape::Packed:
            return add_packed(out, *direct.form, instant, command.size, groups, direct.more, direct.more_count);
    }
}

// An answer as it is sent: `lines` are its head up to the request's id, `end` are further headers.
inline PyObject* answer(DirectForm& direct, const Head& head, const Command& command, int64_t instant,
                        const std::vector<Given>& groups, std::string_view lines, std::string_view request_id,
                        std::string_view end) {
    constexpr size_t DIGITS = 20, MOST_EXPECTED = 1024;
    const size_t rows = std::max<size_t>(command.size, 1);
    const size_t expected = expected_size(*direct.form, rows) + rows * std::min(direct.row_bytes, MOST_EXPECTED);
    Out out(lines.size() + end.size() + 512 + expected);
    out.add(lines);
    out.add(request_id);
    out.add("\r\ncontent-length: ");
    const size_t length = out.size();
    out.wrote(out.room(DIGITS) + DIGITS);
    out.add("\r\n");
    out.add(end);
    out.add("\r\n");
    const size_t body = out.size();
    add_body(out, direct, head, command, instant, groups);
    char* at = out.written(length);
    direct.row_bytes = (out.size() - body) / rows;
    const size_t digits = static_cast<size_t>(std::to_chars(at, at + DIGITS, out.size() - body).ptr - at);
    out.take_out(length + digits, DIGITS - digits);
    return out.finish();
}

}  // namespace store
