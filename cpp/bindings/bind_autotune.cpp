// The switch, the list and the clearing of autotune; cnnx.autotune is built on them.
#include "casters.h"

namespace cnnx::bindings {

void bind_autotune(py::module_& m) {
  m.def("_set_autotune", &set_autotune, py::arg("enabled").noconvert());
  m.def("is_autotune_enabled", &is_autotune_enabled,
        R"(Whether convolution algorithms are chosen by measured time; see autotune.

Returns:
    True or False.

Example:
    >>> import cnnx
    >>> with cnnx.autotune():
    ...     cnnx.is_autotune_enabled()
    True
)");
  m.def(
      "autotune_choices",
      [] {
        std::vector<AutotuneChoice> choices;
        {
          const GilRelease nogil;
          choices = autotune_choices();
        }
        py::list list;
        for (const AutotuneChoice& each : choices) {
          py::dict times;
          for (const auto& [name, milliseconds] : each.milliseconds) times[py::str(name)] = milliseconds;
          py::dict choice;
          choice["machine"] = each.machine;
          choice["key"] = each.key;
          choice["source"] = each.source;
          choice["algorithm"] = each.algorithm;
          choice["ms"] = times;
          list.append(choice);
        }
        return list;
      },
      R"(The convolution algorithms that autotune has chosen in this process, or has read from its file.

Returns:
    A list of dicts: "machine", the processor or GPU and the versions of what runs on it; "key", which has the pass, the
    geometry and all else that a choice depends on; "source", which is "measured", "file", or "rule" where measuring was
    impossible; "algorithm"; "ms", the time of each that was measured.

Example:
    >>> import cnnx
    >>> with cnnx.autotune():
    ...     y = cnnx.functional.conv2d(cnnx.ones(1, 4, 9, 9), cnnx.ones(4, 4, 3, 3))
    >>> cnnx.autotune_choices()[-1]["algorithm"] in cnnx.conv_algorithms()
    True
)");
  m.def(
      "clear_autotune", &clear_autotune, py::call_guard<GilRelease>(),
      R"(Forgets what autotune has chosen, in this process and in its file (there, for this machine's processor and GPUs).

Example:
    >>> import cnnx
    >>> cnnx.clear_autotune()  # doctest: +SKIP
)");
}

}  // namespace cnnx::bindings
