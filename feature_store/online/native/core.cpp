// The extension module; core.py says what its types do.
#include "direct_type.hpp"
#include "command_type.hpp"
#include "form_type.hpp"
#include "keyed.hpp"

namespace store {
namespace {

PyObject* take_powers(PyObject*, PyObject* bytes) {
    return guarded([&]() -> PyObject* {
        const std::string_view text = bytes_of(bytes);
        std::vector<Power> powers(MOST_POWER - LEAST_POWER + 1);
        if (text.size() != 16 * powers.size()) refuse(PyExc_ValueError, "not all powers of ten");
        const Byte* at = reinterpret_cast<const Byte*>(text.data());
        for (Power& power : powers) {
            power = {big_endian(at, 8), big_endian(at + 8, 8)};
            at += 16;
        }
        powers_of_ten = std::move(powers);
        Py_RETURN_NONE;
    });
}

PyMethodDef functions[] = {
    {"keys_by_node", fast(keys_by_node), METH_FASTCALL, nullptr},
    {"put_replies", fast(module_put_replies), METH_FASTCALL, nullptr},
    {"split_vectors", fast(module_split_vectors), METH_FASTCALL, nullptr},
    {"take_powers", take_powers, METH_O, nullptr},
    {"read_head", read_head, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "feature_store_core", nullptr, -1, functions, nullptr, nullptr, nullptr,
                      nullptr};

// Keeps the type where others find it, if they need to.
bool add_type(PyObject* to, PyType_Spec* spec, PyTypeObject** kept = nullptr) {
    Owned type(PyType_FromSpec(spec));
    if (type.get() == nullptr || PyModule_AddType(to, as<PyTypeObject>(type.get())) != 0) return false;
    if (kept != nullptr) *kept = as<PyTypeObject>(type.release());
    return true;
}

}  // namespace
}  // namespace store

PyMODINIT_FUNC PyInit_feature_store_core() {
    PyObject* made = PyModule_Create(&store::module);
    if (made == nullptr) return nullptr;
    if (store::add_type(made, &store::group_spec, &store::group_type) && store::add_type(made, &store::rows_spec, &store::rows_type) &&
        store::add_type(made, &store::form_spec, &store::form_type) &&
        store::add_type(made, &store::command_form_spec, &store::command_form_type) &&
        store::add_type(made, &store::command_spec, &store::command_type) &&
        store::add_type(made, &store::head_spec, &store::head_type) &&
        store::add_type(made, &store::direct_form_spec)) {
        return made;
    }
    Py_DECREF(made);
    return nullptr;
}
