#include <exception>

#include "binding.hpp"
#include "linformer/core/error.hpp"
#include "linformer/ops/attention.hpp"

// NOLINTNEXTLINE: the macro's own
PYBIND11_MODULE(_native, module) {
  module.doc() = "The C++ library of linformer_cpp. Use the names of linformer_cpp, which check and explain.";
  // torch's pybind11 is this module's too, so what torch.ops.linformer throws passes here as well.
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const linformer::UserError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
  module.def("last_path", [] { return linformer::ops::path_name(linformer::ops::last_path()); });
  linformer::python::add_model(module);
  linformer::python::add_reader(module);
  linformer::python::add_text(module);
}
