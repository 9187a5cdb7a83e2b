// The type DirectForm.
#pragma once

#include "command_type.hpp"
#include "direct.hpp"
#include "form_type.hpp"
#include "head_type.hpp"

namespace store {
namespace {

std::vector<size_t> places_of(PyObject* object) {
    const Items items(object);
    std::vector<size_t> places;
    for (size_t i = 0; i < items.size(); i++) places.push_back(size_of(items[i]));
    return places;
}

// An object of a type, or TypeError.
template <class T>
T* expect(PyObject* object, PyTypeObject* type) {
    if (Py_TYPE(object) != type) refuse(PyExc_TypeError, "an object of another type is expected");
    return as<T>(object);
}

PyObject* make_direct_form(PyTypeObject* type, PyObject* arguments, PyObject*) {
    return guarded([&] {
        PyObject *command, *sets, *form, *shape, *keys, *groups, *more, *more_count;
        if (!PyArg_ParseTuple(arguments, "OOOOOOOO", &command, &sets, &form, &shape, &keys, &groups, &more, &more_count))
            throw Failed();
        Owned made = make<DirectForm>(type);
        DirectForm& direct = *as<DirectForm>(made.get());
        direct.command = expect<CommandForm>(command, command_form_type);
        direct.form = expect<Form>(form, form_type);
        direct.command_object = Owned::shared(command);
        direct.form_object = Owned::shared(form);
        const int64_t number = integer_of(shape);
        if (number < 0 || number > static_cast<int64_t>(Shape::Packed)) refuse(PyExc_ValueError, "no such shape");
        direct.shape = static_cast<Shape>(number);
        const Items of_sets(sets), of_keys(keys), of_groups(groups);
        for (size_t i = 0; i < of_sets.size(); i++) direct.sets.push_back(places_of(of_sets[i]));
        for (size_t i = 0; i < of_keys.size(); i++) {
            const Items each(of_keys[i]);
            direct.keys.push_back(size_of(each[0]));
            direct.kinds.push_back(read_type(each[1]).kind);
        }
        for (size_t i = 0; i < of_groups.size(); i++) {
            const Items each(of_groups[i]);
            expect<Group>(each[0], group_type);
            direct.groups.push_back(Owned::shared(each[0]));
            direct.freshness.push_back(integer_of(each[1]));
        }
        const size_t width = direct.groups.size();
        if (direct.sets.size() != direct.command->sets.size() || direct.command->first.size() != width ||
            direct.command->groups.size() != width || direct.form->parts.size() != width ||
            direct.form->key_labels.size() != direct.keys.size()) {
            refuse(PyExc_ValueError, "they are of different views");
        }
        for (size_t i = 0; i < width; i++) {
            for (const Pick& pick : direct.form->parts[i].picks) {
                if (pick.feature >= as<Group>(direct.groups[i].get())->features.size()) {
                    refuse(PyExc_ValueError, "they are of different views");
                }
            }
        }
        direct.more = text_of(more);
        direct.more_count = size_of(more_count);
        return made.release();
    });
}

PyObject* direct_form_command(PyObject* self, PyObject* head) {
    return guarded([&] {
        const DirectForm& direct = *as<DirectForm>(self);
        const Head& given = *expect<Head>(head, head_type);
        Owned made = make<Command>(command_type);
        Command& command = *as<Command>(made.get());
        command.form = as<CommandForm>(Owned::shared(direct.command_object.get()).release());
        read_command(direct, given, command);
        return made.release();
    });
}

// An answer, the rows of each group, and up to when it is complete.
PyObject* direct_form_answer(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 7);
        DirectForm& direct = *as<DirectForm>(self);
        const Head& head = *expect<Head>(arguments[0], head_type);
        const Command& command = *expect<Command>(arguments[1], command_type);
        if (command.form != direct.command) refuse(PyExc_ValueError, "the command is of another form");
        const int64_t instant = integer_of(arguments[3]);
        std::vector<Given> groups = read_values(direct, rows_type, command, arguments[2], instant);
        Owned bytes(answer(direct, head, command, instant, groups, bytes_of(arguments[4]), bytes_of(arguments[5]),
                           bytes_of(arguments[6])));
        const Py_ssize_t width = static_cast<Py_ssize_t>(groups.size());
        Owned rows(checked(PyTuple_New(width))), complete_at(checked(PyTuple_New(width)));
        for (Py_ssize_t i = 0; i < width; i++) {
            Given& each = groups[static_cast<size_t>(i)];
            Owned updated(each.has_updated ? checked(PyLong_FromLongLong(each.updated)) : Owned::shared(Py_None).release());
            PyTuple_SET_ITEM(complete_at.get(), i, updated.release());
            PyTuple_SET_ITEM(rows.get(), i, each.rows_object.release());
        }
        return checked(PyTuple_Pack(3, bytes.get(), rows.get(), complete_at.get()));
    });
}

PyMethodDef direct_form_methods[] = {
    {"command", direct_form_command, METH_O, nullptr},
    {"answer", fast(direct_form_answer), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot direct_form_slots[] = {{Py_tp_new, slot(make_direct_form)},
                                   {Py_tp_dealloc, slot(dispose<DirectForm>)},
                                   {Py_tp_methods, direct_form_methods},
                                   {0, nullptr}};
PyType_Spec direct_form_spec = {"feature_store_core.DirectForm", sizeof(DirectForm), 0, Py_TPFLAGS_DEFAULT,
                                direct_form_slots};

}  // namespace
}  // namespace store
