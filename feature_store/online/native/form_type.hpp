// The type Form.
#pragma once

#include "answers.hpp"
#include "group_type.hpp"

namespace store {
namespace {

PyTypeObject* form_type;

PyObject* make_form(PyTypeObject* type, PyObject* arguments, PyObject*) {
    return guarded([&] {
        PyObject *id, *features, *packed_id, *keys, *parts;
        if (!PyArg_ParseTuple(arguments, "OOOOO", &id, &features, &packed_id, &keys, &parts)) throw Failed();
        Owned made = make<Form>(type);
        Form& form = *as<Form>(made.get());
        form.id = text_of(id);
        form.features = text_of(features);
        form.packed_id = text_of(packed_id);
        const Items names(keys), given(parts);
        for (size_t i = 0; i < names.size(); i++) form.key_labels.push_back(text_of(names[i]) + ':');
        for (size_t i = 0; i < given.size(); i++) {
            const Items each(given[i]), picks(each[4]);
            Part part{{}, each[3] == Py_True, text_of(each[0]) + ':', text_of(each[0]), text_of(each[1]),
                      text_of(each[2])};
            for (size_t j = 0; j < picks.size(); j++) {
                const Items pick(picks[j]);
                const int64_t feature = integer_of(pick[0]);
                if (feature < 0) refuse(PyExc_ValueError, "no such feature");
                part.picks.push_back({static_cast<size_t>(feature), pick[1] == Py_True, text_of(pick[2]) + ':'});
            }
            form.parts.push_back(std::move(part));
        }
        return made.release();
    });
}

PyObject* form_columns(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 4);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        Out out(expected_size(form, size));
        add_columns(out, form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]));
        return out.finish();
    });
}

PyObject* form_records(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 5);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        Out out(expected_size(form, size) + size * form.features.size());
        const KeyObjects keys(form, arguments[4], size);
        add_records(out, form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]), keys);
        return out.finish();
    });
}

PyObject* form_packed(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 5);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        Out out(expected_size(form, size));
        add_packed(out, form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]), size_of(arguments[4]));
        return out.finish();
    });
}

PyMethodDef form_methods[] = {
    {"columns", fast(form_columns), METH_FASTCALL, nullptr},
    {"records", fast(form_records), METH_FASTCALL, nullptr},
    {"packed", fast(form_packed), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot form_slots[] = {
    {Py_tp_new, slot(make_form)}, {Py_tp_dealloc, slot(dispose<Form>)}, {Py_tp_methods, form_methods}, {0, nullptr}};
PyType_Spec form_spec = {"feature_store_core.Form", sizeof(Form), 0, Py_TPFLAGS_DEFAULT, form_slots};

}  // namespace
}  // namespace store
