// The type Head, and the function that reads one.
#pragma once

#include "head.hpp"
#include "types.hpp"

namespace store {
namespace {

PyTypeObject* head_type;

PyObject* bytes_from(std::string_view text) {
    return checked(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

PyObject* read_head(PyObject*, PyObject* data) {
    return guarded([&] {
        Owned made = make<Head>(head_type);
        Head& head = *as<Head>(made.get());
        const std::string_view text = bytes_of(data);
        head.data = Owned::shared(data);
        read_head(text, head);
        return made.release();
    });
}

PyObject* head_key(PyObject* self, void*) {
    return guarded([&] { return bytes_from(as<Head>(self)->key); });
}

PyObject* head_request_id(PyObject* self, void*) {
    return guarded([&]() -> PyObject* {
        const std::string_view given = as<Head>(self)->request_id;
        if (given.empty()) Py_RETURN_NONE;
        return bytes_from(given);
    });
}

// The words of a parameter, by its place among those that are given.
PyObject* head_words(PyObject* self, PyObject* place) {
    return guarded([&] {
        const std::vector<Parameter>& given = as<Head>(self)->given;
        const int64_t at = integer_of(place);
        if (at < 0 || at >= static_cast<int64_t>(given.size())) refuse(PyExc_IndexError, "no such parameter");
        Owned list(checked(PyList_New(0)));
        for (const std::string_view word : words_of(given[at].value)) {
            Owned text(checked(PyUnicode_FromStringAndSize(word.data(), static_cast<Py_ssize_t>(word.size()))));
            if (PyList_Append(list.get(), text.get()) != 0) throw Failed();
        }
        return list.release();
    });
}

PyMethodDef head_methods[] = {
    {"words", head_words, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef head_attributes[] = {
    {"key", head_key, nullptr, nullptr, nullptr},
    {"request_id", head_request_id, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot head_slots[] = {
    {Py_tp_dealloc, slot(dispose<Head>)}, {Py_tp_methods, head_methods}, {Py_tp_getset, head_attributes}, {0, nullptr}};
PyType_Spec head_spec = {"feature_store_core.Head", sizeof(Head), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, head_slots};

}  // namespace
}  // namespace store
