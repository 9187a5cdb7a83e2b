// Stored values of one group to rows: headers, statuses, expiry and types are checked once, in one pass over all values.
#pragma once

#include <string>
#include <unordered_map>

#include "msgpack.hpp"
#include "objects.hpp"

namespace store {

constexpr int64_t OLDEST = INT64_MIN;
constexpr int64_t DAY = 86400000000;
enum Status : Byte { PRESENT, DEFAULTED, EXPIRED, NOT_FOUND, UNAVAILABLE, STATUSES };
inline constexpr std::string_view STATUS_NAMES[STATUSES] = {"PRESENT", "DEFAULTED", "EXPIRED", "NOT_FOUND", "UNAVAILABLE"};

struct Feature {
    Type type;
    std::string absent;  // its default as MessagePack, or nil
    Owned default_value;
    bool has_default;
    bool is_limited;  // NULL may mean that it does not fit 64 bits
};

struct Layout {
    std::vector<Type> fields;
    std::vector<int> feature_of;  // of each field its place in the definition, or -1
    bool lacks_default = false;   // a feature with a default is not in it
    bool is_definition = false;
};

struct Group {
    PyObject_HEAD
    std::vector<Feature> features;
    std::unordered_map<int, Layout> layouts;
    bool has_ttl;
    int64_t ttl;
    Owned absent;  // the tuple of all defaults
    Owned statuses[STATUSES];
    Owned unreachable;
    Owned raw;  // msgspec.Raw
};

struct Entity {
    PyObject* value;  // owned; null if it has no usable row
    int64_t timestamp;
    uint32_t start;  // where its features begin
    Status status;
    bool has_timestamp;
    bool is_whole;  // stored as the definition is, and without a default filled in
};

struct Rows {
    PyObject_HEAD
    Group* group;
    std::vector<Entity> entities;
    std::vector<uint32_t> cells;  // of each entity and feature where it is in the value; 0: what is absent
    std::vector<int> suspects;    // entities on which a limited feature is NULL
    Owned overflows;              // a dict that Python has made of them

    size_t width() const { return group->features.size(); }
    size_t present() const {
        return static_cast<size_t>(std::count_if(entities.begin(), entities.end(),
                                                 [](const Entity& each) { return each.status == PRESENT; }));
    }

    // A feature of an entity; NO_ENTITY (-1) has what is absent.
    Reader cell(int entity, size_t feature) const {
        const uint32_t at = entity < 0 ? 0 : cells[entity * width() + feature];
        if (at == 0) {
            const std::string& absent = group->features[feature].absent;
            const Byte* data = reinterpret_cast<const Byte*>(absent.data());
            return {data, data + absent.size()};
        }
        PyObject* value = entities[entity].value;
        const Byte* data = reinterpret_cast<const Byte*>(PyBytes_AS_STRING(value));
        return {data + at, data + PyBytes_GET_SIZE(value)};
    }
};

// Rows of a group, without any yet.
inline Owned make_rows(PyTypeObject* type, Group& group) {
    Owned made = make<Rows>(type);
    Py_INCREF(reinterpret_cast<PyObject*>(&group));
    reinterpret_cast<Rows*>(made.get())->group = &group;
    return made;
}

// Reads a usable row; false if it is not one of its layout.
inline bool read_row(const Group& group, const Layout& layout, Reader in, const Byte* value, Entity& entity,
                     uint32_t* cells, bool& is_suspect) {
    Item head;
    if (!read_item(in, head) || head.tag != Tag::Array || head.size != layout.fields.size()) return false;
    bool filled = layout.lacks_default;
    for (size_t i = 0; i < layout.fields.size(); i++) {
        const uint32_t at = static_cast<uint32_t>(in.at - value);
        bool is_null;
        if (!check_value(in, layout.fields[i], is_null)) return false;
        const int feature = layout.feature_of[i];
        if (feature < 0) continue;
        if (!is_null) {
            cells[feature] = at;
            continue;
        }
        filled |= group.features[feature].has_default;
        is_suspect |= group.features[feature].is_limited;
    }
    entity.status = filled ? DEFAULTED : PRESENT;
    entity.is_whole = layout.is_definition && !filled;
    return in.at == in.end;
}

// Reads a value; throws Cannot if it cannot be read, or its layout is not known.
inline void read_value(const Group& group, PyObject* value, int64_t now, Entity& entity, uint32_t* cells,
                       bool& is_suspect) {
    const Byte* data = reinterpret_cast<const Byte*>(PyBytes_AS_STRING(value));
    const size_t size = static_cast<size_t>(PyBytes_GET_SIZE(value));
    if (size < 12 || size > UINT32_MAX) throw Cannot();
    const bool is_first = data[0] == 1;
    if (!is_first && (data[0] != 2 || size < 20)) throw Cannot();
    const size_t start = is_first ? 12 : 20 + 24 * static_cast<size_t>(data[3]);
    if (size < start) throw Cannot();
    constexpr uint64_t OFFSET = uint64_t{1} << 63;
    const int64_t timestamp = static_cast<int64_t>(big_endian(data + 4, 8) ^ OFFSET);
    const __int128 expires = static_cast<__int128>(timestamp) + group.ttl;
    if (size == start || (group.has_ttl && expires < now)) {
        const int64_t created = is_first ? OLDEST : static_cast<int64_t>(big_endian(data + 12, 8) ^ OFFSET);
        const __int128 known_until = std::max<__int128>(expires, created) + std::min(group.ttl, DAY);
        if (timestamp != OLDEST && !(group.has_ttl && known_until < now)) {
            entity.status = EXPIRED;
            entity.timestamp = timestamp;
            entity.has_timestamp = true;
        }
        return;
    }
    const auto layout = group.layouts.find(data[1] << 8 | data[2]);
    if (layout == group.layouts.end()) throw Cannot();
    if (!read_row(group, layout->second, {data + start, data + size}, data, entity, cells, is_suspect)) throw Cannot();
    Py_INCREF(value);
    entity.value = value;
    entity.timestamp = timestamp;
    entity.has_timestamp = true;
    entity.start = static_cast<uint32_t>(start);
}

// Reads so many values of a list, from a place on.
inline void read_values(PyObject* list, size_t start, size_t count, int64_t now, Rows& rows) {
    if (start + count > static_cast<size_t>(PyList_GET_SIZE(list))) throw Cannot();
    const size_t width = rows.width();
    rows.entities.resize(count, Entity{nullptr, 0, 0, NOT_FOUND, false, false});
    rows.cells.resize(count * width, 0);
    for (size_t i = 0; i < count; i++) {
        PyObject* value = PyList_GET_ITEM(list, static_cast<Py_ssize_t>(start + i));
        if (value == Py_None) continue;
        if (value == rows.group->unreachable.get()) {
            rows.entities[i].status = UNAVAILABLE;
            continue;
        }
        if (!PyBytes_CheckExact(value)) throw Cannot();
        bool is_suspect = false;
        read_value(*rows.group, value, now, rows.entities[i], rows.cells.data() + i * width, is_suspect);
        if (is_suspect) rows.suspects.push_back(static_cast<int>(i));
    }
}

// A value that was checked, as Python has it.
inline PyObject* object_of(Reader& in, const Type& type) {
    Item item;
    if (!read_item(in, item)) throw Cannot();
    const char* data = reinterpret_cast<const char*>(item.data);
    switch (item.tag) {
        case Tag::Nil: Py_RETURN_NONE;
        case Tag::Bool: return PyBool_FromLong(static_cast<long>(item.integer));
        case Tag::Text: return checked(PyUnicode_DecodeUTF8(data, item.size, nullptr));
        case Tag::Binary: return checked(PyBytes_FromStringAndSize(data, item.size));
        case Tag::Float: return checked(PyFloat_FromDouble(item.number));
        case Tag::Int:
        case Tag::Unsigned:
            if (type.kind == Kind::Float) return checked(PyFloat_FromDouble(as_float(item)));
            if (item.tag == Tag::Int) return checked(PyLong_FromLongLong(item.integer));
            return checked(PyLong_FromUnsignedLongLong(static_cast<uint64_t>(item.integer)));
        case Tag::Array: break;
    }
    Owned list(checked(PyList_New(item.size)));
    for (uint32_t i = 0; i < item.size; i++) {
        PyList_SET_ITEM(list.get(), i, object_of(in, Type{type.item, type.item, 0}));
    }
    return list.release();
}

// The features of an entity as a tuple of Python's values.
inline PyObject* tuple_of(const Rows& rows, int entity) {
    const Group& group = *rows.group;
    if (rows.entities[entity].value == nullptr) return Owned::shared(group.absent.get()).release();
    Owned row(checked(PyTuple_New(static_cast<Py_ssize_t>(rows.width()))));
    for (size_t i = 0; i < rows.width(); i++) {
        const bool is_absent = rows.cells[entity * rows.width() + i] == 0;
        PyObject* absent = group.features[i].default_value.get();
        Reader in = rows.cell(entity, i);
        PyTuple_SET_ITEM(row.get(), static_cast<Py_ssize_t>(i),
                         is_absent ? Owned::shared(absent).release() : object_of(in, group.features[i].type));
    }
    return row.release();
}

// One feature of an entity as it is stored; NULL is its default.
inline void add_stored(Out& out, const Rows& rows, int entity, size_t feature) {
    Reader in = rows.cell(entity, feature);
    const Byte* from = in.at;
    bool is_null;
    if (!check_value(in, rows.group->features[feature].type, is_null)) throw Cannot();
    out.add(from, static_cast<size_t>(in.at - from));
}

inline void add_big_endian(Out& out, uint64_t value, int width) {
    for (int shift = 8 * width - 8; shift >= 0; shift -= 8) out.add(static_cast<char>(value >> shift));
}

inline void add_array(Out& out, size_t size) {
    if (size < 16) return out.add(static_cast<char>(0x90 | size));
    out.add(static_cast<char>(0xdd));
    add_big_endian(out, size, 4);
}

// The features of an entity as they are stored, all of them in the order of the definition.
inline void add_stored_row(Out& out, const Rows& rows, int entity) {
    if (entity >= 0 && rows.entities[entity].is_whole) {
        const Entity& whole = rows.entities[entity];
        return out.add(PyBytes_AS_STRING(whole.value) + whole.start,
                       static_cast<size_t>(PyBytes_GET_SIZE(whole.value)) - whole.start);
    }
    add_array(out, rows.width());
    for (size_t i = 0; i < rows.width(); i++) add_stored(out, rows, entity, i);
}

}  // namespace store
