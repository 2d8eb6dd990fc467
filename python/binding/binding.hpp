// The extension module linformer_cpp._native: what Python needs of the library, as plain functions. Checks of Python's
// types, defaults and documentation are in python/linformer_cpp; configs pass as JSON text.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <string>

#include "linformer/data/tokenizer.hpp"
#include "linformer/nn/decoder.hpp"

namespace linformer::python {

/// What Python holds of a tokenizer; pybind11 has no place for what is const.
struct Text {
  std::shared_ptr<const Tokenizer> tokenizer;
};

/// "auto" or a format, as `linformer generate --dtype` has it.
WeightFormat weights_of(const std::string& asked, const LanguageModel& model);
/// As the program does: prompts in float32 where the weights are, else by the processor.
at::ScalarType prompt_dtype_of(const std::string& asked, WeightFormat weights, const LanguageModel& model);

void add_model(py::module_& module);
void add_reader(py::module_& module);  ///< texts that are read token by token; after add_model
void add_text(py::module_& module);    ///< tokenizers and token files

}  // namespace linformer::python
