// Tokenizers and token files.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <string>
#include <vector>

#include "binding.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/json.hpp"
#include "linformer/data/token_file.hpp"

namespace linformer::python {

namespace {

at::Tensor encode(const Text& text, const std::string& bytes) {
  const py::gil_scoped_release release;
  const auto ids = text.tokenizer->encode(bytes);
  auto result = at::empty({static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), result.mutable_data_ptr<std::int64_t>());
  return result;
}

at::Tensor tokens_of(const TokenData& data, bool validation, std::int64_t offset, std::int64_t count) {
  const py::gil_scoped_release release;
  const auto size = validation ? data.validation_size() : data.train_size();
  require(offset >= 0 && count >= 0 && offset <= size && count <= size - offset,
          "{} tokens from {} asked, but this part has {}", count, offset, size);
  auto result = at::empty({count}, at::kLong);
  auto* out = result.mutable_data_ptr<std::int64_t>();
  validation ? data.copy_validation(offset, count, out) : data.copy_train(offset, count, out);
  return result;
}

}  // namespace

void add_text(py::module_& module) {
  py::class_<Text>(module, "Tokenizer")
      .def_static("load", [](const std::string& name) { return Text{load_tokenizer(name)}; })
      .def_static("numbers", [](std::int64_t size) { return Text{numbers_tokenizer(size)}; })
      .def_static("from_json",
                  [](const std::string& text) { return Text{tokenizer_from_json(parse_json(text, "the tokenizer"))}; })
      .def("to_json", [](const Text& text) { return dump(text.tokenizer->to_json()); })
      .def("size", [](const Text& text) { return text.tokenizer->size(); })
      .def("name", [](const Text& text) { return text.tokenizer->name(); })
      .def("hash", [](const Text& text) { return text.tokenizer->hash(); })
      .def("end_of_text", [](const Text& text) { return text.tokenizer->end_of_text(); })
      .def("encode", &encode)
      .def("decode", [](const Text& text, const std::vector<std::int32_t>& ids) {
        return py::bytes(text.tokenizer->decode(ids));
      });
  py::class_<TokenData>(module, "TokenData")
      .def_static("open", [](const std::string& folder) { return TokenData::open(folder); })
      .def("size", [](const TokenData& data,
                      bool validation) { return validation ? data.validation_size() : data.train_size(); })
      .def("tokens", &tokens_of)
      .def("tokenizer", [](const TokenData& data) { return Text{data.tokenizer()}; });
}

}  // namespace linformer::python
