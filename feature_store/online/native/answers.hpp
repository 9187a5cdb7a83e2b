// Answers of one view with certain features: its groups' rows as columns, records or MessagePack, without Python's values.
#pragma once

#include <memory>
#include <optional>

#include "rows.hpp"
#include "text.hpp"

namespace store {

struct Pick {
    size_t feature;
    bool is_hidden;
    std::string label;  // "name":
};

struct Part {
    std::vector<Pick> picks;
    bool is_whole;
    std::string label;            // "group":
    std::string name;             // "group"
    std::string packed_name;      // as MessagePack
    std::string packed_features;  // their names, likewise
};

struct Form {
    PyObject_HEAD
    std::string id;        // as JSON
    std::string features;  // as a JSON array
    std::string packed_id;
    std::vector<std::string> key_labels;
    std::vector<Part> parts;
};

using Places = std::vector<int>;

// One group of an answer: of every row the place of its entity among the rows; without places row i is of entity i.
struct Given {
    Owned rows_object;
    const Rows* rows;
    PyObject* places_object;
    std::shared_ptr<const Places> places;
    bool is_stale;
    bool has_updated;
    int64_t updated;

    int entity(size_t row) const { return places ? (*places)[row] : static_cast<int>(row); }
};

inline std::shared_ptr<const Places> read_places(PyObject* object, size_t size, size_t entities) {
    const Items items(object);
    if (items.size() != size) throw Cannot();
    auto places = std::make_shared<Places>(size);
    for (size_t i = 0; i < size; i++) {
        const int64_t place = integer_of(items[i]);
        if (place < -1 || place >= static_cast<int64_t>(entities)) throw Cannot();
        (*places)[i] = static_cast<int>(place);
    }
    return places;
}

inline std::vector<Given> read_groups(const Form& form, PyTypeObject* rows_type, PyObject* object, size_t size) {
    const Items groups(object);
    if (groups.size() != form.parts.size()) throw Cannot();
    std::vector<Given> found;
    found.reserve(groups.size());
    for (size_t i = 0; i < groups.size(); i++) {
        const Items given(groups[i]);
        PyObject *rows = given[0], *places = given[1], *updated = given[3];
        if (Py_TYPE(rows) != rows_type) throw Cannot();  // Python's rows
        Given each{Owned::shared(rows), reinterpret_cast<Rows*>(rows), places, nullptr, given[2] == Py_True, false, 0};
        const size_t entities = each.rows->entities.size();
        for (const Pick& pick : form.parts[i].picks) {
            if (pick.feature >= each.rows->width()) throw Cannot();
        }
        if (places == Py_None) {
            if (entities != size) throw Cannot();
        } else if (i > 0 && found[i - 1].places_object == places && found[i - 1].rows->entities.size() == entities) {
            each.places = found[i - 1].places;
        } else {
            each.places = read_places(places, size, entities);
        }
        if (updated != Py_None) {
            each.has_updated = true;
            each.updated = integer_of(updated);
        }
        found.push_back(std::move(each));
    }
    return found;
}

using Write = void (*)(Out&, const Part&, const Rows&, int entity);

// What rows have of a group: written once for each entity where several rows may be of the same.
class Fragments {
  public:
    Fragments(const Part& part, const Given& given, Write write) : part_(part), given_(given), write_(write) {
        if (!given.places) return;
        const int entities = static_cast<int>(given.rows->entities.size());
        text_ = std::make_unique<Out>(64 * (entities + 1));
        ends_.push_back(0);
        for (int entity = -1; entity < entities; entity++) {
            write(*text_, part, *given.rows, entity);
            ends_.push_back(text_->size());
        }
    }

    void add(Out& out, size_t row) const {
        if (!text_) return write_(out, part_, *given_.rows, static_cast<int>(row));
        const int entity = given_.entity(row);
        out.add(text_->part(ends_[entity + 1], ends_[entity + 2]));
    }

  private:
    const Part& part_;
    const Given& given_;
    Write write_;
    std::unique_ptr<Out> text_;
    std::vector<size_t> ends_;
};

inline std::vector<Fragments> fragments_of(const Form& form, const std::vector<Given>& groups, Write write, bool all) {
    std::vector<Fragments> found;
    for (size_t i = 0; i < groups.size(); i++) {
        if (all || !form.parts[i].picks.empty()) found.emplace_back(form.parts[i], groups[i], write);
    }
    return found;
}

inline void add_fragments(Out& out, const std::vector<Fragments>& fragments, size_t row) {
    for (const Fragments& each : fragments) {
        each.add(out, row);
        out.add(',');
    }
    if (!fragments.empty()) out.take_back();
}

inline void add_picked(Out& out, const Part& part, const Rows& rows, int entity, bool for_records) {
    for (const Pick& pick : part.picks) {
        if (for_records) out.add(pick.label);
        if (pick.is_hidden) {
            out.add("null,");
            continue;
        }
        Reader in = rows.cell(entity, pick.feature);
        add_value(out, in, rows.group->features[pick.feature].type, for_records);
        out.add(',');
    }
    out.take_back();
}

inline void write_values(Out& out, const Part& part, const Rows& rows, int entity) {
    add_picked(out, part, rows, entity, false);
}

inline void write_features(Out& out, const Part& part, const Rows& rows, int entity) {
    add_picked(out, part, rows, entity, true);
}

inline std::string_view status_of(const Rows& rows, int entity) {
    return STATUS_NAMES[entity < 0 ? NOT_FOUND : rows.entities[entity].status];
}

inline void write_status(Out& out, const Part& part, const Rows& rows, int entity) {
    out.add(part.label);
    out.add('"');
    out.add(status_of(rows, entity));
    out.add('"');
}

inline void write_instant(Out& out, const Part& part, const Rows& rows, int entity) {
    out.add(part.label);
    if (entity < 0 || !rows.entities[entity].has_timestamp) return out.add("null");
    add_instant(out, rows.entities[entity].timestamp);
}

inline void add_bool(Out& out, bool value) { out.add(value ? std::string_view("true") : std::string_view("false")); }

inline void add_columnar_group(Out& out, const Part& part, const Given& given, size_t size) {
    out.add("{\"group\":");
    out.add(part.name);
    out.add(",\"stale\":");
    add_bool(out, given.is_stale);
    out.add(",\"updated_at\":");
    given.has_updated ? add_integer(out, given.updated) : out.add("null");
    out.add(",\"statuses\":[");
    for (size_t i = 0; i < size; i++) {
        if (i) out.add(',');
        out.add('"');
        out.add(status_of(*given.rows, given.entity(i)));
        out.add('"');
    }
    out.add("],\"feature_timestamps\":[");
    for (size_t i = 0; i < size; i++) {
        if (i) out.add(',');
        const int entity = given.entity(i);
        const bool has_one = entity >= 0 && given.rows->entities[entity].has_timestamp;
        has_one ? add_integer(out, given.rows->entities[entity].timestamp) : out.add("null");
    }
    out.add("]}");
}

// A columnar answer; `more` are further members, each after a comma.
inline void add_columns(Out& out, const Form& form, int64_t instant, size_t size, const std::vector<Given>& groups,
                        std::string_view more) {
    const auto values = fragments_of(form, groups, write_values, false);
    if (values.empty()) throw Cannot();
    out.add("{\"id\":");
    out.add(form.id);
    out.add(",\"request_time\":");
    add_integer(out, instant);
    out.add(",\"features\":");
    out.add(form.features);
    out.add(",\"rows\":[");
    for (size_t i = 0; i < size; i++) {
        if (i) out.add(',');
        out.add('[');
        add_fragments(out, values, i);
        out.add(']');
    }
    out.add("],\"groups\":[");
    for (size_t i = 0; i < groups.size(); i++) {
        if (i) out.add(',');
        add_columnar_group(out, form.parts[i], groups[i], size);
    }
    out.add(']');
    out.add(more);
    out.add('}');
}

inline void add_key(Out& out, PyObject* value) {
    if (value == Py_None) return out.add("null");
    if (PyBool_Check(value)) return add_bool(out, value == Py_True);
    if (PyUnicode_CheckExact(value)) {
        const std::string_view text = utf8_of(value);
        return add_string(out, text.data(), text.size());
    }
    if (!PyLong_CheckExact(value)) throw Cannot();  // an instant, say
    add_integer(out, integer_of(value));
}

// The values of the key columns, which Python has.
class KeyObjects {
  public:
    KeyObjects(const Form& form, PyObject* keys, size_t size) {
        const Items columns(keys);
        if (columns.size() != form.key_labels.size()) throw Cannot();
        for (size_t i = 0; i < columns.size(); i++) {
            columns_.emplace_back(columns[i]);
            if (columns_.back().size() != size) throw Cannot();
        }
    }

    void add(Out& out, size_t key, size_t row) const { add_key(out, columns_[key][row]); }

  private:
    std::vector<Items> columns_;
};

// A record for each row; `keys` writes the value of a key column on a row.
template <class Keys>
void add_records(Out& out, const Form& form, int64_t instant, size_t size, const std::vector<Given>& groups,
                 std::string_view more, const Keys& keys) {
    const auto features = fragments_of(form, groups, write_features, false);
    const auto statuses = fragments_of(form, groups, write_status, true);
    const auto instants = fragments_of(form, groups, write_instant, true);
    out.add("{\"id\":");
    out.add(form.id);
    out.add(",\"request_time\":");
    add_instant(out, instant);
    out.add(",\"records\":[");
    for (size_t i = 0; i < size; i++) {
        out.add(i ? std::string_view(",{\"keys\":{") : std::string_view("{\"keys\":{"));
        for (size_t key = 0; key < form.key_labels.size(); key++) {
            if (key) out.add(',');
            out.add(form.key_labels[key]);
            keys.add(out, key, i);
        }
        out.add("},\"features\":{");
        add_fragments(out, features, i);
        out.add("},\"statuses\":{");
        add_fragments(out, statuses, i);
        out.add("},\"feature_timestamps\":{");
        add_fragments(out, instants, i);
        out.add("}}");
    }
    out.add("],\"groups\":{");
    for (size_t i = 0; i < groups.size(); i++) {
        if (i) out.add(',');
        out.add(form.parts[i].label);
        out.add("{\"stale\":");
        add_bool(out, groups[i].is_stale);
        out.add(",\"updated_at\":");
        groups[i].has_updated ? add_instant(out, groups[i].updated) : out.add("null");
        out.add('}');
    }
    out.add('}');
    out.add(more);
    out.add('}');
}

inline void add_packed_text(Out& out, std::string_view text) {  // of less than 32 bytes
    out.add(static_cast<char>(0xa0 | text.size()));
    out.add(text);
}

inline void add_packed_integer(Out& out, int64_t value) {
    if (value >= -32 && value < 128) return out.add(static_cast<char>(value));
    out.add(static_cast<char>(value < 0 ? 0xd3 : 0xcf));
    add_big_endian(out, static_cast<uint64_t>(value), 8);
}

inline void add_packed_row(Out& out, const Part& part, const Rows& rows, int entity) {
    if (part.is_whole) return add_stored_row(out, rows, entity);
    add_array(out, part.picks.size());
    for (const Pick& pick : part.picks) {
        pick.is_hidden ? out.add(static_cast<char>(0xc0)) : add_stored(out, rows, entity, pick.feature);
    }
}

inline void add_packed_group(Out& out, const Part& part, const Given& given) {
    const Rows& rows = *given.rows;
    const size_t count = rows.entities.size();
    constexpr char NIL = static_cast<char>(0xc0);
    out.add(static_cast<char>(0x80 | (given.places ? 9 : 8)));
    add_packed_text(out, "group");
    out.add(part.packed_name);
    add_packed_text(out, "stale");
    out.add(static_cast<char>(given.is_stale ? 0xc3 : 0xc2));
    add_packed_text(out, "updated_at");
    given.has_updated ? add_packed_integer(out, given.updated) : out.add(NIL);
    add_packed_text(out, "features");
    out.add(part.packed_features);
    add_packed_text(out, "rows");
    add_array(out, count);
    for (size_t i = 0; i < count; i++) add_packed_row(out, part, rows, static_cast<int>(i));
    add_packed_text(out, "statuses");
    add_array(out, count);
    for (const Entity& each : rows.entities) add_packed_text(out, STATUS_NAMES[each.status]);
    add_packed_text(out, "feature_timestamps");
    add_array(out, count);
    for (const Entity& each : rows.entities) {
        each.has_timestamp ? add_packed_integer(out, each.timestamp) : out.add(NIL);
    }
    add_packed_text(out, "absent");
    add_packed_row(out, part, rows, -1);
    if (!given.places) return;
    add_packed_text(out, "places");
    add_array(out, given.places->size());
    for (const int place : *given.places) add_packed_integer(out, place);
}

// A MessagePack answer; `more` are `count` further members.
inline void add_packed(Out& out, const Form& form, int64_t instant, size_t size, const std::vector<Given>& groups,
                       std::string_view more, size_t count) {
    if (count > 11) throw Cannot();
    out.add(static_cast<char>(0x84 + count));
    add_packed_text(out, "id");
    out.add(form.packed_id);
    add_packed_text(out, "request_time");
    add_packed_integer(out, instant);
    add_packed_text(out, "row_count");
    add_packed_integer(out, static_cast<int64_t>(size));
    add_packed_text(out, "groups");
    add_array(out, groups.size());
    for (size_t i = 0; i < groups.size(); i++) add_packed_group(out, form.parts[i], groups[i]);
    out.add(more);
}

// How many bytes an answer may well have.
inline size_t expected_size(const Form& form, size_t size) { return 512 + form.features.size() + size * 128; }

}  // namespace store
