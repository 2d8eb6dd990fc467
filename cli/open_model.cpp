#include "open_model.hpp"

#include "linformer/core/error.hpp"
#include "linformer/infer/model_tokenizer.hpp"
#include "linformer/nn/device.hpp"

namespace linformer::cli {

OpenedModel open_model(const std::string& folder, const Common& common) {
  require(common.dtype == "auto" || common.dtype == "float32" || common.dtype == "bfloat16",
          "--dtype is '{}', but must be auto (float32 here), float32 or bfloat16", common.dtype);
  const auto device = parse_device(common.device);
  auto loaded = load_model(folder);
  auto tokenizer = tokenizer_of(loaded);
  loaded.model.to(device, at::kFloat);
  return {std::move(loaded.model), std::move(tokenizer), common.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat};
}

}  // namespace linformer::cli
