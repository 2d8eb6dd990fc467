#include "linformer/infer/model_tokenizer.hpp"

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"

namespace linformer {

std::shared_ptr<const Tokenizer> tokenizer_of(const LoadedModel& loaded) {
  require(!loaded.tokenizer.is_null(),
          "the model folder has no tokenizer.json, which turns text into its ids: copy the file from the folder of its "
          "data");
  auto tokenizer = tokenizer_from_json(loaded.tokenizer);
  const auto vocabulary = loaded.model.config().vocabulary;
  const bool masked =
      !loaded.model.config().causal && vocabulary == tokenizer->size() + 1;  // the mask has an id of its own
  require(tokenizer->size() == vocabulary || masked,
          "tokenizer.json of the model folder has {} ids, but the model's vocabulary has {}: put back the "
          "file that the model was trained with",
          tokenizer->size(), vocabulary);
  const auto section = loaded.config.find("tokenizer");
  if (section != loaded.config.end() && section->is_object() && section->contains("hash")) {
    require((*section)["hash"] == tokenizer->hash(),
            "tokenizer.json of the model folder is not the one that the model was trained with (its hash is "
            "{}, config.json names {}): put back "
            "the original",
            tokenizer->hash(), json_excerpt((*section)["hash"]));
  }
  return tokenizer;
}

}  // namespace linformer
