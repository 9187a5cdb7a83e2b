// The types CommandForm and Command.
#pragma once

#include "slots.hpp"
#include "types.hpp"

namespace store {
namespace {

PyTypeObject *command_form_type, *command_type;

PyObject* make_command_form(PyTypeObject* type, PyObject* arguments, PyObject*) {
    return guarded([&] {
        PyObject *first, *sets, *groups;
        if (!PyArg_ParseTuple(arguments, "OOO", &first, &sets, &groups)) throw Failed();
        Owned made = make<CommandForm>(type);
        CommandForm& form = *as<CommandForm>(made.get());
        const Items keys(first), columns(sets), prefixes(groups);
        for (size_t i = 0; i < keys.size(); i++) form.first.push_back(text_of(keys[i]));
        for (size_t i = 0; i < columns.size(); i++) {
            const Items types(columns[i]);
            KeySet set;
            for (size_t j = 0; j < types.size(); j++) set.kinds.push_back(read_type(types[j]).kind);
            form.sets.push_back(std::move(set));
        }
        for (size_t i = 0; i < prefixes.size(); i++) {
            const Items each(prefixes[i]);
            const int64_t set = integer_of(each[1]);
            if (set < 0 || set >= static_cast<int64_t>(form.sets.size())) refuse(PyExc_ValueError, "no such columns");
            form.groups.push_back({text_of(each[0]), static_cast<size_t>(set)});
        }
        return made.release();
    });
}

PyObject* command_form_command(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 2);
        const Items columns(arguments[0]);
        const size_t size = size_of(arguments[1]);
        Owned made = make<Command>(command_type);
        Command& command = *as<Command>(made.get());
        command.form = as<CommandForm>(Owned::shared(self).release());
        command.size = size;
        if (columns.size() != command.form->sets.size()) throw Cannot();
        for (size_t i = 0; i < columns.size(); i++) {
            command.sets.push_back(read_tags(command.form->sets[i], columns[i], size));
        }
        command.packed = Owned(pack(command));
        return made.release();
    });
}

void dispose_command(PyObject* self) {
    Py_XDECREF(reinterpret_cast<PyObject*>(as<Command>(self)->form));
    dispose<Command>(self);
}

PyObject* command_packed(PyObject* self, void*) { return Owned::shared(as<Command>(self)->packed.get()).release(); }

const Tags& tags_of(PyObject* self, PyObject* number) {
    const int64_t set = integer_of(number);
    const std::vector<Tags>& sets = as<Command>(self)->sets;
    if (set < 0 || set >= static_cast<int64_t>(sets.size())) refuse(PyExc_IndexError, "no such columns");
    return sets[set];
}

PyObject* command_count(PyObject* self, PyObject* set) {
    return guarded([&] { return checked(PyLong_FromSize_t(tags_of(self, set).size())); });
}

PyObject* command_places(PyObject* self, PyObject* set) {
    return guarded([&]() -> PyObject* {
        const Tags& tags = tags_of(self, set);
        if (tags.is_one_each) Py_RETURN_NONE;
        Owned list(checked(PyList_New(static_cast<Py_ssize_t>(tags.places.size()))));
        for (size_t i = 0; i < tags.places.size(); i++) {
            PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), checked(PyLong_FromLong(tags.places[i])));
        }
        return list.release();
    });
}

Py_ssize_t command_length(PyObject* self) { return static_cast<Py_ssize_t>(count_keys(*as<Command>(self))); }

PyObject* command_item(PyObject* self, Py_ssize_t i) {
    return guarded([&] {
        if (i < 0) refuse(PyExc_IndexError, "no such key");
        return key_of(*as<Command>(self), static_cast<size_t>(i));
    });
}

PyObject* command_subscript(PyObject* self, PyObject* place) {
    if (!PySlice_Check(place)) {
        return guarded([&] {
            const int64_t i = integer_of(place);
            return command_item(self, i < 0 ? i + command_length(self) : i);
        });
    }
    const Owned keys(PySequence_List(self));
    return keys.get() == nullptr ? nullptr : PyObject_GetItem(keys.get(), place);
}

PyMethodDef command_form_methods[] = {
    {"command", fast(command_form_command), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot command_form_slots[] = {{Py_tp_new, slot(make_command_form)},
                                    {Py_tp_dealloc, slot(dispose<CommandForm>)},
                                    {Py_tp_methods, command_form_methods},
                                    {0, nullptr}};
PyType_Spec command_form_spec = {"feature_store_core.CommandForm", sizeof(CommandForm), 0, Py_TPFLAGS_DEFAULT,
                                 command_form_slots};

PyObject* command_by_node(PyObject* self, PyObject* owners) {
    return guarded([&] { return by_node<Command>(*as<Command>(self), bytes_of(owners)); });
}

PyMethodDef command_methods[] = {
    {"by_node", command_by_node, METH_O, nullptr},
    {"count", command_count, METH_O, nullptr},
    {"places", command_places, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef command_attributes[] = {
    {"packed", command_packed, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot command_slots[] = {
    {Py_tp_dealloc, slot(dispose_command)}, {Py_tp_methods, command_methods},  {Py_tp_getset, command_attributes},
    {Py_sq_length, slot(command_length)},   {Py_sq_item, slot(command_item)},
    {Py_mp_subscript, slot(command_subscript)}, {0, nullptr}};
PyType_Spec command_spec = {"feature_store_core.Command", sizeof(Command), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, command_slots};

}  // namespace
}  // namespace store
