// The types Group and Rows.
#pragma once

#include "rows.hpp"
#include "types.hpp"

namespace store {
namespace {

PyTypeObject *group_type, *rows_type;

void dispose_rows(PyObject* self) {
    for (const Entity& each : as<Rows>(self)->entities) Py_XDECREF(each.value);
    Py_XDECREF(reinterpret_cast<PyObject*>(as<Rows>(self)->group));
    dispose<Rows>(self);
}

PyObject* make_group(PyTypeObject* type, PyObject* arguments, PyObject*) {
    return guarded([&] {
        PyObject *features, *ttl, *statuses, *unreachable, *raw;
        if (!PyArg_ParseTuple(arguments, "OOOOO", &features, &ttl, &statuses, &unreachable, &raw)) throw Failed();
        Owned made = make<Group>(type);
        Group& group = *as<Group>(made.get());
        const Items given(features);
        group.absent = Owned(checked(PyTuple_New(static_cast<Py_ssize_t>(given.size()))));
        for (size_t i = 0; i < given.size(); i++) {
            const Items each(given[i]);
            Feature feature{read_type(each[0]), text_of(each[1]), Owned::shared(each[2]), each[2] != Py_None,
                            each[3] == Py_True};
            const Byte* data = reinterpret_cast<const Byte*>(feature.absent.data());
            Reader in{data, data + feature.absent.size()};
            bool is_null;
            if (!check_value(in, feature.type, is_null) || in.at != in.end) refuse(PyExc_ValueError, "no such default");
            PyTuple_SET_ITEM(group.absent.get(), static_cast<Py_ssize_t>(i), Owned::shared(each[2]).release());
            group.features.push_back(std::move(feature));
        }
        group.has_ttl = ttl != Py_None;
        group.ttl = group.has_ttl ? integer_of(ttl) : 0;
        const Items names(statuses);
        for (int i = 0; i < STATUSES; i++) group.statuses[i] = Owned::shared(names[i]);
        group.unreachable = Owned::shared(unreachable);
        group.raw = Owned::shared(raw);
        return made.release();
    });
}

PyObject* group_learn(PyObject* self, PyObject* layouts) {
    return guarded([&]() -> PyObject* {
        Group& group = *as<Group>(self);
        std::unordered_map<int, Layout> known;
        const Items given(layouts);
        for (size_t i = 0; i < given.size(); i++) {
            const Items each(given[i]), types(each[1]), places(each[2]);
            Layout layout;
            std::vector<bool> has(group.features.size(), false);
            for (size_t field = 0; field < types.size(); field++) {
                const int64_t place = integer_of(places[field]);
                if (place < -1 || place >= static_cast<int64_t>(has.size())) refuse(PyExc_ValueError, "no such feature");
                layout.fields.push_back(read_type(types[field]));
                layout.feature_of.push_back(static_cast<int>(place));
                if (place >= 0) has[place] = true;
            }
            for (size_t feature = 0; feature < has.size(); feature++) {
                layout.lacks_default |= !has[feature] && group.features[feature].has_default;
            }
            layout.is_definition = each[3] == Py_True;
            known[static_cast<int>(integer_of(each[0]))] = std::move(layout);
        }
        group.layouts = std::move(known);
        Py_RETURN_NONE;
    });
}

PyObject* group_decode(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 2);
        Owned made = make_rows(rows_type, *as<Group>(self));
        Rows& rows = *as<Rows>(made.get());
        PyObject* list = arguments[0];
        if (!PyList_CheckExact(list)) throw Cannot();
        read_values(list, 0, static_cast<size_t>(PyList_GET_SIZE(list)), integer_of(arguments[1]), rows);
        return made.release();
    });
}

template <class Get>
PyObject* list_of(const Rows& rows, Get get) {
    Owned list(checked(PyList_New(static_cast<Py_ssize_t>(rows.entities.size()))));
    for (size_t i = 0; i < rows.entities.size(); i++) {
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), get(static_cast<int>(i)));
    }
    return list.release();
}

PyObject* rows_rows(PyObject* self, void*) { return Owned::shared(self).release(); }

PyObject* rows_statuses(PyObject* self, void*) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        return list_of(rows, [&](int i) {
            return Owned::shared(rows.group->statuses[rows.entities[i].status].get()).release();
        });
    });
}

PyObject* rows_present(PyObject* self, void*) {
    return guarded([&] { return checked(PyLong_FromSize_t(as<Rows>(self)->present())); });
}

PyObject* rows_timestamps(PyObject* self, void*) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        return list_of(rows, [&](int i) {
            if (!rows.entities[i].has_timestamp) return Owned::shared(Py_None).release();
            return checked(PyLong_FromLongLong(rows.entities[i].timestamp));
        });
    });
}

PyObject* rows_overflows(PyObject* self, void*) {
    PyObject* overflows = as<Rows>(self)->overflows.get();
    return overflows == nullptr ? PyDict_New() : Owned::shared(overflows).release();
}

int rows_set_overflows(PyObject* self, PyObject* value, void*) {
    if (value == nullptr || !PyDict_CheckExact(value)) {
        PyErr_SetString(PyExc_TypeError, "a dict is expected");
        return -1;
    }
    as<Rows>(self)->overflows = Owned::shared(value);
    return 0;
}

PyObject* rows_decoded(PyObject* self, PyObject*) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        return list_of(rows, [&](int i) { return tuple_of(rows, i); });
    });
}

PyObject* rows_suspects(PyObject* self, PyObject*) {
    return guarded([&] {
        const std::vector<int>& suspects = as<Rows>(self)->suspects;
        Owned list(checked(PyList_New(0)));
        for (const int place : suspects) {
            Owned number(checked(PyLong_FromLong(place)));
            if (PyList_Append(list.get(), number.get()) != 0) throw Failed();
        }
        return list.release();
    });
}

Py_ssize_t rows_length(PyObject* self) { return static_cast<Py_ssize_t>(as<Rows>(self)->entities.size()); }

PyObject* rows_item(PyObject* self, Py_ssize_t i) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        if (i < 0 || i >= rows_length(self)) refuse(PyExc_IndexError, "no such row");
        Out out(128);
        add_stored_row(out, rows, rows.entities[i].value == nullptr ? -1 : static_cast<int>(i));
        Owned bytes(out.finish());
        return checked(PyObject_CallOneArg(rows.group->raw.get(), bytes.get()));
    });
}

PyMethodDef group_methods[] = {
    {"learn", group_learn, METH_O, nullptr},
    {"decode", fast(group_decode), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot group_slots[] = {
    {Py_tp_new, slot(make_group)}, {Py_tp_dealloc, slot(dispose<Group>)}, {Py_tp_methods, group_methods}, {0, nullptr}};
PyType_Spec group_spec = {"feature_store_core.Group", sizeof(Group), 0, Py_TPFLAGS_DEFAULT, group_slots};

PyMethodDef rows_methods[] = {
    {"decoded", rows_decoded, METH_NOARGS, nullptr},
    {"suspects", rows_suspects, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef rows_attributes[] = {
    {"rows", rows_rows, nullptr, nullptr, nullptr},
    {"statuses", rows_statuses, nullptr, nullptr, nullptr},
    {"present", rows_present, nullptr, nullptr, nullptr},
    {"timestamps", rows_timestamps, nullptr, nullptr, nullptr},
    {"overflows", rows_overflows, rows_set_overflows, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot rows_slots[] = {
    {Py_tp_dealloc, slot(dispose_rows)},  {Py_tp_methods, rows_methods}, {Py_tp_getset, rows_attributes},
    {Py_sq_length, slot(rows_length)},    {Py_sq_item, slot(rows_item)}, {0, nullptr}};
PyType_Spec rows_spec = {"feature_store_core.Rows", sizeof(Rows), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, rows_slots};

}  // namespace
}  // namespace store
