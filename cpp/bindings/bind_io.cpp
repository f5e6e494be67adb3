// Saving and loading.
#include "casters.h"
#include "py_module.h"

namespace cnnx::bindings {
namespace {

using Path = std::filesystem::path;

/// A path as an argument; std::filesystem::path's own conversion would not say what is wrong with a name.
struct PathArg {
  Path value;
};

}  // namespace
}  // namespace cnnx::bindings

namespace pybind11::detail {
template <>
struct type_caster<cnnx::bindings::PathArg> {
  PYBIND11_TYPE_CASTER(cnnx::bindings::PathArg, const_name("os.PathLike | str | bytes"));
  bool load(handle source, bool convert) {
    make_caster<std::filesystem::path> path;
    if (path.load(source, convert)) {
      value.value = cast_op<std::filesystem::path&&>(std::move(path));
      return true;
    }
    const auto text = reinterpret_steal<object>(PyOS_FSPath(source.ptr()));
    PyErr_Clear();
    if (!text) return false;
    throw value_error("[path] expected a file's name; got " + repr(text).cast<std::string>() + ".");
  }
};
}  // namespace pybind11::detail

namespace cnnx::bindings {
namespace {

/// FileNotFoundError and IsADirectoryError as open() raises them, before the core looks at the file.
std::string readable(const Path& path) {
  py::module_::import("builtins").attr("open")(path, "rb").attr("close")();
  return path.string();
}

/// Raises OSError's kinds for a folder that is missing or write-protected.
std::string writable(const Path& path) {
  const Path folder = path.has_parent_path() ? path.parent_path() : Path(".");
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    PyErr_SetString(PyExc_FileNotFoundError, ("[save] there is no folder " + folder.string() + ".").c_str());
    throw py::error_already_set();
  }
  if (std::filesystem::is_directory(path, error)) {
    PyErr_SetString(PyExc_IsADirectoryError, ("[save] " + path.string() + " is a folder.").c_str());
    throw py::error_already_set();
  }
  const py::module_ os = py::module_::import("os");
  if (!os.attr("access")(folder, os.attr("W_OK")).cast<bool>()) {
    PyErr_SetString(PyExc_PermissionError, ("[save] the folder " + folder.string() + " is write-protected.").c_str());
    throw py::error_already_set();
  }
  return path.string();
}

py::dict to_dict(const StateDict& tensors) {
  py::dict result;
  for (const auto& [name, tensor] : tensors) result[py::str(name)] = tensor;
  return result;
}

}  // namespace

void bind_io(py::module_& m) {
  m.def(
      "save",
      [](Module& model, const PathArg& path, const std::optional<Metadata>& metadata) {
        const std::string file = writable(path.value);
        without_gil([&] { save(model, file, metadata.value_or(Metadata())); });
      },
      py::arg("model"), py::arg("path"), py::arg("metadata") = py::none(), R"(Saves a model as one .safetensors file.

The architecture goes along as JSON in the file's metadata if every module is one of the library's own layers; cnnx.load and
C++'s cnnx::load rebuild the model from it, with parameters and buffers shared as they are here. Other models are saved as
their state dict. The file is replaced as a whole or not at all.

Args:
    model: the module.
    path: the file to write.
    metadata: strings to keep in the file.

Raises:
    ValueError: if the library's layers have other parameters or buffers than their arguments say, as after pruning.
    FileNotFoundError: if the folder does not exist.
    PermissionError: if it is write-protected.
    RuntimeError: if writing fails.

Example:
    >>> import cnnx, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cnnx.save(cnnx.models.lenet5(), folder + "/lenet5.safetensors", {"trained": "no"})
    ...     cnnx.load(folder + "/lenet5.safetensors")[0], cnnx.load_metadata(folder + "/lenet5.safetensors")["trained"]
    (Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1)), 'no')
)");
  m.def(
      "load",
      [](const PathArg& path) {
        const std::string name = readable(path.value);
        return static_cast<std::shared_ptr<Module>>(without_gil([&] { return load(name); }));
      },
      py::arg("path"), R"(Rebuilds the model that cnnx.save wrote, in evaluation mode.

Args:
    path: a .safetensors file.

Returns:
    The model.

Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for a file that is malformed or has no architecture; says what is wrong.

Example:
    >>> import cnnx, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cnnx.save(cnnx.models.lenet5(), folder + "/lenet5.safetensors")
    ...     cnnx.load(folder + "/lenet5.safetensors")(cnnx.zeros(1, 1, 32, 32)).shape
    (1, 10)
)");
  m.def(
      "save_state",
      [](const py::dict& tensors, const PathArg& path, const std::optional<Metadata>& metadata) {
        StateDict state;
        for (const auto& [name, tensor] : tensors) state.emplace_back(name.cast<std::string>(), tensor.cast<Tensor>());
        const std::string file = writable(path.value);
        without_gil([&] { save_safetensors(file, state, metadata.value_or(Metadata())); });
      },
      py::arg("tensors"), py::arg("path"), py::arg("metadata") = py::none(),
      R"(Saves a dict of names and tensors, such as a state dict, as a .safetensors file.

Args:
    tensors: names and tensors.
    path: the file to write; replaced as a whole or not at all.
    metadata: strings to keep in the file.

Raises:
    FileNotFoundError: if the folder does not exist.
    PermissionError: if it is write-protected.
    RuntimeError: if writing fails.

Example:
    >>> import cnnx, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cnnx.save_state({"x": cnnx.ones(2)}, folder + "/x.safetensors")
    ...     cnnx.load_state(folder + "/x.safetensors")
    {'x': tensor([1., 1.])}
)");
  m.def(
      "load_state",
      [](const PathArg& path) {
        const std::string name = readable(path.value);
        return to_dict(without_gil([&] { return load_safetensors(name); }).tensors);
      },
      py::arg("path"), R"(The tensors of a .safetensors file by name.

Small integers become int64.

Args:
    path: the file.

Returns:
    A dict of names and tensors.

Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for a malformed file; says what is wrong.

Example:
    >>> import cnnx, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cnnx.save_state(cnnx.Linear(2, 1).state_dict(), folder + "/linear.safetensors")
    ...     sorted(cnnx.load_state(folder + "/linear.safetensors"))
    ['bias', 'weight']
)");
  m.def(
      "load_metadata",
      [](const PathArg& path) {
        const std::string name = readable(path.value);
        return without_gil([&] { return load_safetensors(name).metadata; });
      },
      py::arg("path"), R"(The string metadata of a .safetensors file.

Args:
    path: the file.

Returns:
    A dict of strings.

Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for a malformed file; says what is wrong.

Example:
    >>> import cnnx, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cnnx.save_state({}, folder + "/empty.safetensors", {"by": "hand"})
    ...     cnnx.load_metadata(folder + "/empty.safetensors")
    {'by': 'hand'}
)");
}

}  // namespace cnnx::bindings
