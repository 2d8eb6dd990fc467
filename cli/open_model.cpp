#include "open_model.hpp"

#include <utility>

#include "linformer/config/enum_text.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/format.hpp"
#include "linformer/infer/model_tokenizer.hpp"

namespace linformer::cli {

OpenedModel open_model(const std::string& folder, const Common& common) {
  require(common.dtype == "auto" || common.dtype == "float32" || common.dtype == "bfloat16",
          "--dtype is '{}', but must be auto (float32 here), float32 or bfloat16", excerpt(common.dtype));
  const auto device = parse_device(common.device);
  auto loaded = load_model(folder);
  auto tokenizer = tokenizer_of(loaded);
  loaded.model.to(device, at::kFloat);
  return {std::move(loaded.model), std::move(tokenizer), common.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat};
}

void add_products(CLI::App& verb, Common& common) {
  verb.add_option("--products", common.products,
                  "library of float32 products: libtorch, onednn (they round differently), or auto: by the processor")
      ->check(CLI::IsMember({"auto", "libtorch", "onednn"}));
}

ProductLibrary products_of(const Common& common) { return enum_of<ProductLibrary>(common.products, "--products"); }

void announce(const Common& common, at::ScalarType dtype, std::vector<Announcement> choices) {
  const bool by_library = dtype == at::kFloat && parse_device(common.device).is_cpu();
  if (const auto products = choose_products(products_of(common)); by_library && !products.reason.empty())
    choices.push_back({"products", std::string(enum_name(products.value)), products.reason, "--products"});
  if (!choices.empty()) say("linformer: {}\n", announcement_of(choices));
}

}  // namespace linformer::cli
