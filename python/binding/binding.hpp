// The extension module linformer_cpp._native: what Python needs of the library, as plain functions. Checks of Python's
// types, defaults and documentation are in python/linformer_cpp; configs pass as JSON text.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <memory>

#include "linformer/data/tokenizer.hpp"

namespace linformer::python {

/// What Python holds of a tokenizer; pybind11 has no place for what is const.
struct Text {
  std::shared_ptr<const Tokenizer> tokenizer;
};

void add_model(py::module_& module);
void add_text(py::module_& module);  ///< tokenizers and token files

}  // namespace linformer::python
