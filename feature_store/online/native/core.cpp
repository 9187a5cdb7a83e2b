// The extension module; core.py says what its types do.
#include "answers.hpp"
#include "command.hpp"

namespace store {
namespace {

PyTypeObject* group_type;
PyTypeObject* rows_type;
PyTypeObject* form_type;
PyTypeObject* command_form_type;
PyTypeObject* command_type;

template <class T>
T* as(PyObject* object) {
    return reinterpret_cast<T*>(object);
}

template <class T>
Owned make(PyTypeObject* type) {
    PyObject* made = checked(type->tp_alloc(type, 0));
    PyObject head = *made;
    new (made) T();  // leaves the head as C++ pleases
    *made = head;
    return Owned(made);
}

template <class T>
void dispose(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    as<T>(self)->~T();
    type->tp_free(self);
    Py_DECREF(type);
}

void dispose_rows(PyObject* self) {
    for (const Entity& each : as<Rows>(self)->entities) Py_XDECREF(each.value);
    Py_XDECREF(reinterpret_cast<PyObject*>(as<Rows>(self)->group));
    dispose<Rows>(self);
}

void check_count(Py_ssize_t given, Py_ssize_t wanted) {
    if (given != wanted) refuse(PyExc_TypeError, "another number of arguments is expected");
}

std::string text_of(PyObject* bytes) { return std::string(bytes_of(bytes)); }

Type read_type(PyObject* object) {
    const Items numbers(object);
    const int64_t kind = integer_of(numbers[0]), item = integer_of(numbers[1]), size = integer_of(numbers[2]);
    const int64_t last = static_cast<int64_t>(Kind::List);
    if (kind < 0 || kind > last || item < 0 || item >= last || size < 0 || size > (1 << 28)) {
        refuse(PyExc_ValueError, "no such type");
    }
    return {static_cast<Kind>(kind), static_cast<Kind>(item), static_cast<uint32_t>(size)};
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
        Owned made = make<Rows>(rows_type);
        Rows& rows = *as<Rows>(made.get());
        rows.group = as<Group>(Owned::shared(self).release());
        read_values(arguments[0], integer_of(arguments[1]), rows);
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

PyObject* rows_statuses(PyObject* self, PyObject*) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        return list_of(rows, [&](int i) {
            return Owned::shared(rows.group->statuses[rows.entities[i].status].get()).release();
        });
    });
}

PyObject* rows_timestamps(PyObject* self, PyObject*) {
    return guarded([&] {
        const Rows& rows = *as<Rows>(self);
        return list_of(rows, [&](int i) {
            if (!rows.entities[i].has_timestamp) return Owned::shared(Py_None).release();
            return checked(PyLong_FromLongLong(rows.entities[i].timestamp));
        });
    });
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

size_t size_of(PyObject* object) {
    const int64_t size = integer_of(object);
    if (size < 0 || size > INT32_MAX) throw Cannot();
    return static_cast<size_t>(size);
}

PyObject* form_columns(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 4);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        return columns(form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]));
    });
}

PyObject* form_records(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 5);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        return records(form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]), arguments[4]);
    });
}

PyObject* form_packed(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 5);
        const Form& form = *as<Form>(self);
        const size_t size = size_of(arguments[1]);
        const auto groups = read_groups(form, rows_type, arguments[2], size);
        return packed(form, integer_of(arguments[0]), size, groups, bytes_of(arguments[3]), size_of(arguments[4]));
    });
}

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

using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

PyCFunction fast(Fast function) { return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)); }

template <class Function>
void* slot(Function function) {
    return reinterpret_cast<void*>(function);
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
    {"statuses", rows_statuses, METH_NOARGS, nullptr},
    {"timestamps", rows_timestamps, METH_NOARGS, nullptr},
    {"decoded", rows_decoded, METH_NOARGS, nullptr},
    {"suspects", rows_suspects, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot rows_slots[] = {
    {Py_tp_dealloc, slot(dispose_rows)}, {Py_tp_methods, rows_methods}, {Py_sq_length, slot(rows_length)},
    {Py_sq_item, slot(rows_item)},       {0, nullptr}};
PyType_Spec rows_spec = {"feature_store_core.Rows", sizeof(Rows), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, rows_slots};

PyMethodDef form_methods[] = {
    {"columns", fast(form_columns), METH_FASTCALL, nullptr},
    {"records", fast(form_records), METH_FASTCALL, nullptr},
    {"packed", fast(form_packed), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot form_slots[] = {
    {Py_tp_new, slot(make_form)}, {Py_tp_dealloc, slot(dispose<Form>)}, {Py_tp_methods, form_methods}, {0, nullptr}};
PyType_Spec form_spec = {"feature_store_core.Form", sizeof(Form), 0, Py_TPFLAGS_DEFAULT, form_slots};

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

PyMethodDef command_methods[] = {
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
    {Py_sq_length, slot(command_length)},   {Py_sq_item, slot(command_item)}, {0, nullptr}};
PyType_Spec command_spec = {"feature_store_core.Command", sizeof(Command), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, command_slots};

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
    {"take_powers", take_powers, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "feature_store_core", nullptr, -1, functions, nullptr, nullptr, nullptr,
                      nullptr};

bool add_type(PyObject* to, PyType_Spec* spec, PyTypeObject*& type) {
    type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(spec));
    return type != nullptr && PyModule_AddType(to, type) == 0;
}

}  // namespace
}  // namespace store

PyMODINIT_FUNC PyInit_feature_store_core() {
    PyObject* made = PyModule_Create(&store::module);
    if (made == nullptr) return nullptr;
    if (store::add_type(made, &store::group_spec, store::group_type) &&
        store::add_type(made, &store::rows_spec, store::rows_type) &&
        store::add_type(made, &store::form_spec, store::form_type) &&
        store::add_type(made, &store::command_form_spec, store::command_form_type) &&
        store::add_type(made, &store::command_spec, store::command_type)) {
        return made;
    }
    Py_DECREF(made);
    return nullptr;
}
